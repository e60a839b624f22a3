"""Write the handwritten threes and eights that come with scikit-learn as PNG files into one flat folder, unlabelled.

What they show goes into another file, for `answer.py` alone, which plays the person who labels.

Usage: python make_photos.py
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = {3: "three", 8: "eight"}


def main() -> None:
    """Write `photos/` and `truth.csv` into the current folder."""
    digits = load_digits()
    Path("photos").mkdir(exist_ok=True)
    with Path("truth.csv").open("w", newline="") as file:
        truth = csv.writer(file)
        for number, (image, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            if digit in CLASSES:
                name = f"{number:04}.png"
                pixels = Image.fromarray((image / 16 * 255).astype(np.uint8))
                pixels.resize((64, 64)).save(Path("photos", name))
                truth.writerow([name, CLASSES[digit]])


if __name__ == "__main__":
    main()
