"""A folder of images as data to label: sub-folders that are named after classes are labels already."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.decoding import decoded
from lightning_al.data.from_files import FromFiles, class_names
from lightning_al.run.run_command import setting
from lightning_al.values.errors import first_few, said_shortly
from lightning_al.values.whole_numbers import whole_number

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of image files, those of torchvision's `ImageFolder` and GIF."""

HELD_OUT = ("val", "test")
"""Sub-folders whose images are never in the pool."""

LIKE_HELD_OUT = ("val", "valid", "validation", "dev", "eval", "evaluation", "holdout", "test", "tests", "testing")
"""Names of sub-folders, in lower case, that are taken for misspelled ones of those."""

LIKE_TRAINING = ("train", "training")
"""Names of sub-folders, in lower case, that hold the folders of classes rather than the images of one."""

MOST_KEPT = 2**30
"""How many bytes of decoded images a dataset keeps in memory."""


class ImageFiles(Dataset[Any]):
    """Read images from files, with the labels that are known.

    An item is ``(image, label)``: the image ``[3, size, size]`` as floats from 0 to 1, resized and cropped to its
    central square, and the class number, or None if there is no label. The first gigabyte of decoded images is kept in
    memory, since a run reads the same images in each epoch.

    Args:
        root: The folder.
        keys: The path of each image, relative to `root` and with ``/``.
        targets: The class number of each image, or None.
        classes: Names of the classes.
        image_size: Height and width of the images.

    Attributes:
        keys: What each image is known by: its path, relative to `root` and with ``/``.
        targets: The class number of each image, or None.
        classes: Names of the classes in the order of their numbers.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        keys: Sequence[str],
        targets: Sequence[int | None],
        classes: Sequence[str],
        image_size: int = 64,
    ) -> None:
        self.root = Path(root)
        self.keys = list(keys)
        self.targets = list(targets)
        self.classes = list(classes)
        self.image_size = image_size
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[Tensor, int | None]:
        """Return an image and its label.

        Raises:
            OSError: If the file cannot be read as an image. The message names it.
        """
        pixels = self._kept.get(index)
        if pixels is None:
            pixels = self._decoded(index)
            if (len(self._kept) + 1) * pixels.numel() <= MOST_KEPT:
                self._kept[index] = pixels
        return pixels.to(torch.float32) / 255, self.targets[index]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the images in memory, which each process reads itself."""
        return {**vars(self), "_kept": {}}

    def path_of(self, index: int) -> Path:
        """Return the path of an image's file."""
        return self.root / self.keys[index]

    def _decoded(self, index: int) -> Tensor:
        try:
            return decoded(self.path_of(index), self.image_size)
        except Exception as error:  # whatever decoders raise
            # Pillow's own words are the path.
            is_unknown = type(error).__name__ == "UnidentifiedImageError"
            said = "its format is not known" if is_unknown else said_shortly(error, most=100)
            raise OSError(
                f"The image {self.keys[index]} cannot be read: {said}. Remove or replace the file in {self.root}."
            ) from error


def image_folder(
    root: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    image_size: int = 64,
    batch_size: int = 32,
    num_workers: int = 0,
) -> FromFiles:
    """Return the images in a folder and its sub-folders as data to label.

    An image in a sub-folder that is named after a class has that label. Other images have none, until an oracle gives
    it. Images in the sub-folders ``val`` and ``test`` are for validation and test. There each one has to be in a
    sub-folder that is named after its class.

    Hidden files and files that are not images are ignored. An image that cannot be read is an error that names it, and
    ``ActiveLearning(unscorable="skip")`` leaves it out of the pool.

    Args:
        root: The folder.
        classes: Names of the classes. By default the names of the sub-folders that hold images, if there are two or
            more and it is clear that they are classes: none is like ``validation`` or ``tests``, and none is like
            ``train`` with folders alone, such as ``train/cat``.
        image_size: Height and width of the images, which are resized and cropped to their central square.
        batch_size: Batch size.
        num_workers: Number of worker processes.

    Returns:
        A LightningDataModule for ``ActiveDataModule(..., classes=classes)``. Its training data are `ImageFiles`.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If the classes are not clear.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("one.png", "cat/two.png"):
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     Image.new("L", (8, 8), 255).save(root / name)
    >>> images = image_folder(root, classes=["cat", "dog"], image_size=4).train_dataloader().dataset
    >>> images.keys, images.targets, images[1][0].shape
    (['cat/two.png', 'one.png'], [0, None], torch.Size([3, 4, 4]))
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"`image_folder` found no folder {folder}. Check the path.")
    image_size = whole_number("image_folder", "image_size", image_size)
    found = _images_in(folder)
    if not found:
        raise _no_images(folder)
    names = _classes_in(folder, found) if classes is None else class_names("image_folder", classes)
    _check_spelling(folder, found, names)

    numbers = {_composed(name): number for number, name in enumerate(names)}

    def images(keys: list[str]) -> ImageFiles:
        targets = [_label_of(key, numbers) for key in keys]
        return ImageFiles(folder, keys=keys, targets=targets, classes=names, image_size=image_size)

    train = images([key for key in found if key.split("/")[0] not in HELD_OUT])
    held_out = {part: images([key for key in found if key.split("/")[0] == part]) for part in HELD_OUT}
    if not len(train):
        raise ValueError(
            f"`image_folder` found images in {folder} only in the sub-folders val and test, which are never in the "
            "pool. Put the images to label beside these sub-folders."
        )
    for part, dataset in held_out.items():
        without = [key for key, target in zip(dataset.keys, dataset.targets, strict=True) if target is None]
        if without:
            raise ValueError(
                f"`image_folder` needs a label for each image in {folder / part}: {len(without)} of them are not "
                f"in a sub-folder that is named after a class: {first_few(without, 3)}. Put each into one of: "
                f"{', '.join(f'{part}/{name}' for name in names[:10])}."
            )
    val, test = (dataset if len(dataset) else None for dataset in held_out.values())
    return FromFiles("image_folder", train, val=val, test=test, batch_size=batch_size, num_workers=num_workers)


def _images_in(folder: Path) -> list[str]:
    """Return the paths of all images in a folder, relative to it and with ``/``, sorted."""
    return sorted(key for key in _files_in(folder, "", ()) if key.lower().endswith(ENDINGS))


def _files_in(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the files in a folder that are not hidden. A link to a folder that it lies in is not followed."""
    state = folder.stat()
    here = (state.st_dev, state.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                yield from _files_in(folder / entry.name, f"{prefix}{entry.name}/", (*above, here))
            elif entry.is_file():
                yield prefix + entry.name


def _no_images(folder: Path) -> FileNotFoundError:
    others = Counter(Path(key).suffix.lower() for key in _files_in(folder, "", ()))
    listed = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in others.most_common(3))
    return FileNotFoundError(
        f"`image_folder` found no images in {folder}, only {listed or 'no files at all'}. Give a folder of image files "
        f"({', '.join(ENDINGS)}), and convert other kinds, such as HEIC."
    )


def _composed(name: str) -> str:
    """Return a name as composed Unicode. The file systems of macOS give it decomposed."""
    return unicodedata.normalize("NFC", name)


def _folders_of(key: str) -> list[str]:
    """Return the names of the sub-folders on the way to an image."""
    return [_composed(name) for name in key.split("/")[:-1]]


def _label_of(key: str, numbers: Mapping[str, int]) -> int | None:
    """Return the class that the outermost of an image's sub-folders is named after, or None.

    >>> _label_of("2023/dog/cat/x.png", {"cat": 0, "dog": 1}), _label_of("2023/x.png", {"cat": 0, "dog": 1})
    (1, None)
    """
    return next((numbers[name] for name in _folders_of(key) if name in numbers), None)


def _classes_in(folder: Path, keys: Iterable[str]) -> list[str]:
    """Return the names of the sub-folders that hold images."""
    keys = [key for key in keys if key.split("/")[0] not in HELD_OUT]
    first = {names[0] for key in keys if (names := _folders_of(key))}
    _check_held_out(folder, first)
    _check_depth(folder, first, keys)
    if len(first) < 2:
        raise ValueError(
            f"`image_folder` takes the classes from the names of the sub-folders of {folder} that hold images, but "
            f"found {', '.join(first) or 'none'}. Name the classes: `classes=['cat', 'dog']`, on the command line "
            "data.classes=[cat,dog]."
        )
    return sorted(first)


def _check_held_out(folder: Path, names: Iterable[str]) -> None:
    """Refuse sub-folders, none of them a class, whose names are nearly those of the ones that are held out."""
    for name in sorted(names):
        if name not in HELD_OUT and name.casefold() in LIKE_HELD_OUT:
            raise ValueError(
                f"`image_folder` found a sub-folder {name!r} in {folder}, whose images would be in the pool: only the "
                "sub-folders val and test are held out. Give it one of these names, or another one, or add its name "
                "to `classes` if it is a class."
            )


def _check_depth(folder: Path, first: Iterable[str], keys: Iterable[str]) -> None:
    """Refuse a sub-folder for training that holds the folders of classes, and no image beside them."""
    with_images = {names[0] for key in keys if len(names := _folders_of(key)) == 1}
    without = sorted(name for name in set(first) - with_images if name.casefold() in LIKE_TRAINING)
    if not without:
        return
    below = sorted({(names[0], names[1]) for key in keys if len(names := _folders_of(key)) > 1 and names[0] in without})
    inner = sorted({name for _, name in below})
    raise ValueError(
        f"`image_folder` takes the classes from the names of sub-folders, but the images of {first_few(without, 3)} in "
        f"{folder} lie in sub-folders of theirs, such as {'/'.join(below[0])}, and it is not clear which names are "
        f"classes. Name the classes, such as `classes={inner[:3]}`, on the command line "
        f"{setting('data.classes', inner[:3])}, or pass the folder that holds those of the classes, such as "
        f"`root={str(folder / without[0])!r}`."
    )


def _check_spelling(folder: Path, keys: Iterable[str], classes: Sequence[str]) -> None:
    """Refuse sub-folders whose names are nearly those of classes, or of the sub-folders that are held out."""
    taken = [name for name in classes if name in HELD_OUT]
    if taken:
        raise ValueError(
            f"`image_folder(classes=...)` has a class {taken[0]!r}, but images in {folder / taken[0]} are held out. "
            "Give the class another name."
        )
    composed = {_composed(name).casefold(): name for name in classes}
    first = {names[0] for key in keys if (names := _folders_of(key))}
    for name in sorted({name for key in keys for name in _folders_of(key)} - {_composed(name) for name in classes}):
        near = get_close_matches(name.casefold(), composed, n=1, cutoff=0.8)
        if near:
            raise ValueError(
                f"`image_folder` found a sub-folder {name!r} in {folder}, which is nearly the class "
                f"{composed[near[0]]!r}, so it is not clear whether its images are labelled. Give the folder the name "
                "of the class, or a name that is less like it, or add its name to `classes`."
            )
    _check_held_out(folder, first - {_composed(name) for name in classes})
