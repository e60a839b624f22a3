"""Serve the page of a run: ``python -m lightning_al.page FOLDER``."""

from __future__ import annotations

import argparse
import signal
import sys

from lightning_al.page.place import Place
from lightning_al.page.starting import check_installed
from lightning_al.run.lock import InUseError


def main() -> None:
    """Serve the page of the run in the folder that the command line names, until it is done or Ctrl-C is pressed."""
    parser = argparse.ArgumentParser("python -m lightning_al.page", description="Serve the page on which people label.")
    parser.add_argument("folder", help="the run's folder")
    parser.add_argument("--port", type=int, default=0, help="the port; by default that of last time, or any")
    parser.add_argument("--quiet", action="store_true", help="do not print the address")
    given = parser.parse_args()
    # What a job in the background starts ignores Ctrl-C, which was lost where it came before uvicorn's own handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        check_installed()
        from lightning_al.page.server import serve

        if not given.quiet:
            print(f"Serving {given.folder}. Ctrl-C ends it; the run and all answers stay.", file=sys.stderr)
        serve(given.folder, given.port)
    except KeyboardInterrupt:
        pass
    except InUseError:
        sys.stderr.write(f"The page is served already: {Place(given.folder).address()}\n")
        raise SystemExit(3) from None
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
