"""Rewrite the links of README.md so that they work on the package index, where paths of the repository lead nowhere.

    python docs/index_links.py --repository https://HOST/OWNER/lightning_al --tag v0.2.0 --site https://HOST/PATH

Pages of docs/pages become pages of the site, pictures the raw files of the repository at that tag, and everything else
its files there. Run it after the tag and before the build, and do not commit what it writes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def with_addresses(text: str, *, repository: str, tag: str, site: str) -> str:
    """Return Markdown whose relative links are addresses.

    >>> links = "[a](docs/pages/guides/page.md#keys) ![b](examples/results/digits.png) [c](LICENSE) [d](#start)"
    >>> with_addresses(links, repository="https://r", tag="v1", site="https://s")
    '[a](https://s/guides/page.html#keys) ![b](https://r/raw/v1/examples/results/digits.png) [c](https://r/blob/v1/LICENSE) [d](#start)'
    """  # noqa: E501

    def address(link: re.Match[str]) -> str:
        exclamation, words, path, anchor = link.groups(default="")
        if path.startswith("docs/pages/"):
            target = f"{site}/{path.removeprefix('docs/pages/').removesuffix('.md')}.html"
        else:
            target = f"{repository}/{'raw' if exclamation else 'blob'}/{tag}/{path}"
        return f"{exclamation}[{words}]({target}{anchor})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!#|\w+:)([^)#]+)(#[^)]*)?\)", address, text)


def main() -> None:
    """Rewrite README.md by the arguments of the command."""
    parser = argparse.ArgumentParser(description="Rewrite the links of README.md for the package index.")
    for name in ("repository", "tag", "site"):
        parser.add_argument(f"--{name}", required=True)
    addresses = vars(parser.parse_args())
    README.write_text(with_addresses(README.read_text(), **addresses))


if __name__ == "__main__":
    main()
