"""Names of the files in a run's folder, besides those of its journal."""

CONFIG = "config.yaml"
"""Configuration of the run."""

SUMMARY = "summary.json"
"""Summary of the run, written once it has finished."""

ERROR = "error.txt"
"""Error of a failed cell of a sweep: one line, then the whole traceback."""
