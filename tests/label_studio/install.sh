#!/usr/bin/env bash
# Install Label Studio into an environment of its own (1 GB), for tests/label_studio, and print where it is.
#
#   tests/label_studio/install.sh    once; afterwards: pytest -n 0 -m slow tests/label_studio
set -euo pipefail

version=1.23.2
home=${LABEL_STUDIO_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/lightning_al/label-studio-$version}

if [[ ! -e $home/installed ]]; then
    "${PYTHON:-python3}" -m venv "$home"
    "$home/bin/pip" install -q "label-studio==$version"
    # An empty database, which each server of the tests copies: to make it takes a minute.
    LABEL_STUDIO_BASE_DATA_DIR=$home/empty DJANGO_DB=sqlite COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false \
        "$home/bin/label-studio" init first --quiet --username anna@example.com --password anna-pass
    touch "$home/installed"
fi
echo "$home"
