"""An environment that has the wheel, and what the wheel needs, but not the repository."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path


def environment_with(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Make an environment in a folder, and return its programs' folder and its site-packages."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    # What the wheel needs; a path listed so brings no editable installs with it.
    (site / "needed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return folder / "bin", site
