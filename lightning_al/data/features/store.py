"""Tables of features on disk, which are read row by row and known by a hash of what they are of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lightning_al.host.namespace import rank_zero_info
from lightning_al.run.files import kind_of, replacing
from lightning_al.run.folder_path import make_folder


class Store:
    """Keep tables ``[N, D]`` of float32 in a folder, each in one file that is there as a whole or not at all.

    Args:
        folder: The folder, which is made when something is kept.
        is_shared: Whether tables of other data and encoders are kept beside each other. If not, a new table of a split
            replaces the one before.
    """

    def __init__(self, folder: Path, *, is_shared: bool) -> None:
        self.folder = folder
        self.is_shared = is_shared

    def find(self, split: str, key: str, size: int) -> np.ndarray | None:
        """Return a table, mapped from its file, or None where there is none that fits.

        Args:
            split: What its rows are for, such as train.
            key: The hash of what it is of.
            size: How many rows it has.
        """
        path = self._path(split, key)
        try:
            if kind_of(path) is not None:
                raise ValueError
            table: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            if table.ndim != 2 or len(table) != size or table.dtype != np.float32:
                raise ValueError
        except FileNotFoundError:
            if not self.is_shared and self._others(split, key):
                rank_zero_info(
                    f"The {split} features in {self.folder} are of other data or of another encoder, so they are "
                    "computed again."
                )
            return None
        except (ValueError, OSError, EOFError):
            rank_zero_info(f"{path} does not hold the {split} features, so they are computed again.")
            return None
        return table

    def write(self, split: str, key: str, size: int, chunks: Iterable[np.ndarray]) -> None:
        """Write a table, chunk by chunk.

        Args:
            split: What its rows are for.
            key: The hash of what it is of.
            size: How many rows it has.
            chunks: Its rows in order, float32.

        Raises:
            OSError: If the disk is full. Then there is no file.
            ValueError: If the folder cannot be made or written.
        """
        if self.is_shared:
            make_folder(self.folder, "cache", "a folder of features")
        with replacing(self._path(split, key)) as path, path.open("wb") as file:
            for number, chunk_n_D in enumerate(chunks):
                if number == 0:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (size, chunk_n_D.shape[1])}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(chunk_n_D, dtype="<f4").tobytes())
        if not self.is_shared:
            for other in self._others(split, key):
                other.unlink(missing_ok=True)

    def _path(self, split: str, key: str) -> Path:
        # In a shared folder, the split of one program may be another's training data.
        return self.folder / (f"features-{key[:16]}.npy" if self.is_shared else f"{_beginning(split)}{key[:16]}.npy")

    def _others(self, split: str, key: str) -> list[Path]:
        own = re.compile(re.escape(_beginning(split)) + r"[0-9a-f]{16}\.npy")
        found = [path for path in self.folder.glob("features-*.npy") if own.fullmatch(path.name)]
        return sorted(path for path in found if path != self._path(split, key))


def _beginning(split: str) -> str:
    return f"features-{re.sub('[^a-z0-9]+', '-', split.lower())}-"
