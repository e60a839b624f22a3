"""What the files in a run's folder are called, besides those of its journal."""

CONFIG = "config.yaml"
"""The configuration of the run."""

SUMMARY = "summary.json"
"""What came of the run, once it has finished."""

ERROR = "error.txt"
"""Why a cell of a sweep failed: a line, and then the whole traceback."""
