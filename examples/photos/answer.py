"""Play the person who fills in the files of queries: write the right class into each line that has none.

Usage: python answer.py RUN_FOLDER
"""

import csv
import sys
from pathlib import Path


def main(folder: str) -> None:
    """Fill in each CSV file in the folder's `queries/`."""
    with Path("truth.csv").open(newline="") as file:
        truth = dict(csv.reader(file))
    for path in Path(folder, "queries").glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["label"] = row["label"] or truth[row["key"]]
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
