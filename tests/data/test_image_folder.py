"""A folder of images as data to label."""

from __future__ import annotations

import copy
import os
import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from lightning_al import ActiveDataModule, ActiveLearning, Deterministic, image_folder
from lightning_al.data.image_folder import ImageFiles
from lightning_al.demos import Classifier
from tests.support.tasks import trainer

CLASSES = ["cat", "dog"]
NESTED = ["cat/b.png", "cat/deep/a.jpg", "dog/a.PNG", "dog/z.bmp", "emu/q.gif", "emu/dog/q.webp"]


def shade(number: int) -> Image.Image:
    return Image.new("RGB", (8, 6), (40 * number % 256, 90, 10))


def make(root: Path, *keys: str) -> Path:
    for number, key in enumerate(keys):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        shade(number).save(root / key)
    return root


def files(root: Path, **arguments: Any) -> ImageFiles:
    return image_folder(root, **{"classes": CLASSES, "image_size": 4, **arguments}).train_dataloader().dataset


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    found = files(make(tmp_path, "b.png", "a.png", "c.jpeg"))
    assert found.keys == ["a.png", "b.png", "c.jpeg"]
    assert found.targets == [None, None, None]
    assert found.classes == CLASSES
    assert found.path_of(1) == tmp_path / "b.png"
    image, label = found[0]
    assert label is None
    assert image.shape == (3, 4, 4)
    assert image.dtype == torch.float32
    assert image[:, 1, 1].tolist() == pytest.approx([40 / 255, 90 / 255, 10 / 255])


def test_folders_that_are_named_after_classes_are_labels_and_others_are_parts_of_the_path(tmp_path: Path) -> None:
    found = files(make(tmp_path, "2023/05/x.png", "2023/dog/y.png", "cat/2024/z.png", "w.png", "dog/cat/v.png"))
    labels = dict(zip(found.keys, found.targets, strict=True))
    assert labels == {
        "2023/05/x.png": None,
        "2023/dog/y.png": 1,
        "cat/2024/z.png": 0,
        "dog/cat/v.png": 1,
        "w.png": None,
    }
    assert [found[place][1] for place in range(5)] == found.targets


def test_labels_are_those_of_torchvision(tmp_path: Path) -> None:
    root = make(tmp_path, *NESTED)
    ours = files(root, classes=None)
    theirs = ImageFolder(str(root), is_valid_file=lambda path: True)
    assert ours.classes == theirs.classes
    known = {str(Path(path).relative_to(root)): label for path, label in theirs.samples}
    assert dict(zip(ours.keys, ours.targets, strict=True)) == known


def test_keys_are_sorted_and_unique_and_reading_twice_gives_the_same(tmp_path: Path) -> None:
    first, second = files(make(tmp_path, *NESTED, "a.png"), classes=None), files(tmp_path, classes=None)
    assert first.keys == sorted(set(first.keys)) == second.keys
    assert first.targets == second.targets
    for index in range(len(first)):
        assert torch.equal(first[index][0], first[index][0])
        assert torch.equal(first[index][0], second[index][0])


def test_copies_do_not_carry_the_images_in_memory(tmp_path: Path) -> None:
    found = files(make(tmp_path, "a.png"))
    size = len(pickle.dumps(found))
    image, _ = found[0]
    assert len(pickle.dumps(found)) == size
    assert torch.equal(copy.deepcopy(found)[0][0], image)


def test_an_image_is_decoded_once(tmp_path: Path) -> None:
    found = files(make(tmp_path, "a.png"))
    image, _ = found[0]
    found.path_of(0).unlink()
    assert torch.equal(found[0][0], image)


def test_val_and_test_are_not_in_the_pool(tmp_path: Path) -> None:
    root = make(tmp_path, "a.png", "cat/b.png", "val/cat/c.png", "test/dog/d.png", "test/cat/e.png")
    data = image_folder(root, classes=CLASSES)
    assert data.train_dataloader().dataset.keys == ["a.png", "cat/b.png"]
    assert data.val_dataloader().dataset.keys == ["val/cat/c.png"]
    assert data.test_dataloader().dataset.keys == ["test/cat/e.png", "test/dog/d.png"]
    assert data.test_dataloader().dataset.targets == [0, 1]


def test_there_is_no_validation_without_its_folder(tmp_path: Path) -> None:
    from lightning_al.host.namespace import is_overridden

    data = image_folder(make(tmp_path, "a.png"), classes=CLASSES)
    assert not is_overridden("val_dataloader", data)
    assert not is_overridden("test_dataloader", data)
    assert (data.classes, data.num_classes, data.num_inputs) == (CLASSES, 2, None)


def test_hidden_files_other_files_and_loops_of_links_are_ignored(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a.png", "cat/b.png", ".hidden.png", ".cache/c.png", "__MACOSX/d.png")
    (root / "notes.txt").write_text("x")
    (root / "broken.png").symlink_to(root / "gone.png")
    (root / "cat" / "up").symlink_to(root)
    elsewhere = make(tmp_path / "elsewhere", "e.png")
    (root / "linked").symlink_to(elsewhere)
    os.mkfifo(root / "pipe.png")
    assert files(root).keys == ["a.png", "cat/b.png", "linked/e.png"]


def test_a_decomposed_name_is_the_class(tmp_path: Path) -> None:
    root = make(tmp_path, unicodedata.normalize("NFD", "käfer") + "/a.png", "b.png")
    found = files(root, classes=[unicodedata.normalize("NFC", "käfer"), "wal"])
    assert sorted(map(str, found.targets)) == ["0", "None"]


GREY = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> torch.Tensor:
    image.save(path, **options)
    return files(path.parent, image_size=8)[0][0]


@pytest.mark.parametrize(
    ("mode", "name"),
    [("L", "a.png"), ("RGB", "a.png"), ("RGBA", "a.png"), ("LA", "a.png"), ("P", "a.png"), ("CMYK", "a.tif")],
)
def test_grey_in_any_mode_is_the_same(tmp_path: Path, mode: str, name: str) -> None:
    image = saved(tmp_path / name, Image.fromarray(GREY).convert(mode))
    expected = torch.from_numpy(GREY / 255).float().expand(3, 8, 8)
    assert torch.allclose(image, expected, atol=1.5 / 255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_are_not_cut_to_8(tmp_path: Path, name: str) -> None:
    image = saved(tmp_path / name, Image.fromarray(GREY.astype(np.uint16) * 257))
    assert torch.allclose(image, torch.from_numpy(GREY / 255).float().expand(3, 8, 8), atol=1.5 / 255)


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    assert saved(tmp_path / "a.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0))).min() == 1
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30])
    assert saved(tmp_path / "a.png", palette, transparency=0).min() == 1


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image = saved(tmp_path / "a.png", Image.fromarray(GREY), exif=exif)
    assert torch.allclose(image[0], torch.from_numpy(np.rot90(GREY, -1) / 255).float())


def test_the_central_square_is_taken(tmp_path: Path) -> None:
    wide = np.zeros((8, 24), dtype=np.uint8)
    wide[:, 8:16] = GREY
    assert torch.allclose(saved(tmp_path / "a.png", Image.fromarray(wide))[0], torch.from_numpy(GREY / 255).float())


def test_a_large_photo_is_read_at_the_size_of_the_others(tmp_path: Path) -> None:
    photo = Image.fromarray(np.kron(GREY, np.ones((100, 100), dtype=np.uint8)))
    assert torch.allclose(saved(tmp_path / "a.jpg", photo)[0], torch.from_numpy(GREY / 255).float(), atol=0.03)


def truncated(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("damage", [truncated, lambda path: path.write_text("no image")], ids=["cut", "text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(make(tmp_path, "2023/a.png") / "2023/a.png")
    with pytest.raises(OSError, match=r"The image 2023/a\.png cannot be read: .* Remove or replace the file in"):
        files(tmp_path)[0]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(OSError, match="The pixels are floats, `mode=F`, whose range is not known"):
        files(tmp_path)[0]


def fit(
    root: Path, oracle: Any, *, budget: int = 4, initial_size: int | None = None, **arguments: Any
) -> ActiveLearning:
    initial = {"initial": [1, 2]} if initial_size is None else {"initial_size": initial_size}
    images = image_folder(root, classes=CLASSES, image_size=4)
    data = ActiveDataModule(images, classes=CLASSES, seed=0, **initial)  # type: ignore[arg-type]
    model = Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)), num_classes=2)
    active = ActiveLearning(
        "entropy", query_size=2, budget=budget, posterior=Deterministic(), oracle=oracle, seed=0, **arguments
    )
    trainer(root / "runs", max_epochs=1, callbacks=[active]).fit(model, datamodule=data)
    return active


def test_a_run_passes_over_what_cannot_be_read(tmp_path: Path) -> None:
    root = make(tmp_path, *(f"{number}.png" for number in range(6)))
    truncated(root / "4.png")
    with pytest.warns(UserWarning, match=r"were left out: index 4 \(OSError: The image 4\.png cannot be read"):
        active = fit(root, lambda query: {index: CLASSES[index % 2] for index in query}, unscorable="skip")
    assert 4 not in active.history[0].indices
    assert active.done


def test_a_labelled_image_that_cannot_be_read_ends_a_run(tmp_path: Path) -> None:
    root = make(tmp_path, *(f"{number}.png" for number in range(6)))
    truncated(root / "2.png")
    with pytest.raises(OSError, match=r"The image 2\.png cannot be read"):
        fit(root, lambda query: {index: CLASSES[index % 2] for index in query}, unscorable="skip")


@pytest.mark.parametrize(("size", "labelled"), [(1, 3), (3, 3), (5, 5)])
def test_what_is_labelled_already_is_labelled_from_the_start(tmp_path: Path, size: int, labelled: int) -> None:
    root = make(tmp_path, "a.png", "b.png", "cat/c.png", "dog/d.png", "dog/e.png", "f.png", "g.png")
    data = ActiveDataModule(image_folder(root, classes=CLASSES), classes=CLASSES, initial_size=size, seed=0)
    data.setup("fit")
    assert data.pool.num_labelled == labelled
    assert {2, 3, 4} <= set(data.pool.initial)
    assert len(data.without_label()) == labelled - 3


def test_what_is_labelled_already_is_not_asked_for(tmp_path: Path) -> None:
    root = make(tmp_path, "a.png", "b.png", "cat/c.png", "dog/d.png", "dog/e.png", "f.png", "g.png")
    asked: list[int] = []

    def answers(query: Any) -> dict[int, str]:
        asked.extend(query)
        assert query.paths == [root / key for key in query.keys]
        return dict.fromkeys(query, "cat")

    fit(root, answers, initial_size=1, budget=7)
    assert sorted(asked) == [0, 1, 5, 6]


def test_the_labels_of_some_cannot_be_revealed_for_others(tmp_path: Path) -> None:
    root = make(tmp_path, "a.png", "b.png", "cat/c.png", "dog/d.png", "e.png", "f.png")
    with pytest.raises(ValueError, match="have no labels, so `Revealed` has none to reveal"):
        fit(root, "revealed")


@pytest.mark.parametrize(
    ("keys", "arguments", "said"),
    [
        ([], {}, "found no images in .*, only no files at all. Give a folder of image files"),
        (
            ["a.png"],
            {"classes": None},
            "takes the classes from the names of the sub-folders of .* found none. Name the",
        ),
        (["cat/a.png", "b.png"], {"classes": None}, "that hold images, but found cat. Name the classes"),
        (["cats/a.png"], {}, "a sub-folder 'cats' in .*, which is nearly the class 'cat', so it is not clear"),
        (["x/Dog/a.png"], {}, "a sub-folder 'Dog' in .*, which is nearly the class 'dog'"),
        (["a.png"], {"classes": ["cat", "cat"]}, r"`image_folder\(classes=...\)` expected the names of two or more"),
        (["a.png"], {"classes": ["cat"]}, "expected the names of two or more classes, each once"),
        (["a.png"], {"classes": "cat"}, "expected the names of two or more classes, each once, but got 'cat'"),
        (["a.png"], {"classes": [0, 1]}, "expected the names of two or more classes, each once"),
        (["a.png"], {"classes": ["cat", "test"]}, "has a class 'test', but images in .* are held out. Give the class"),
        (["a.png", "validation/b.png"], {}, "sub-folder 'validation' in .*, whose images would be in the pool"),
        *(
            (["cat/a.png", "dog/b.png", f"{name}/cat/c.png"], {"classes": None}, f"a sub-folder '{name}' in .*, whose")
            for name in ("valid", "validation", "Val", "Test", "tests", "eval")
        ),
        (
            ["train/cat/a.png", "train/dog/b.png", "valid/cat/c.png"],
            {"classes": None},
            "a sub-folder 'valid' in .*, whose images would be in the pool",
        ),
        (
            ["Training/cat/a.png", "x/b.png"],
            {"classes": None},
            r"the images of Training in .* lie in sub-folders of theirs, such as Training/cat, .*root=.*Training",
        ),
        (["train/cat/a.png", "val/cat/b.png"], {"classes": None}, "the images of train in .* lie in sub-folders of"),
        (["val/cat/a.png"], {}, "only in the sub-folders val and test, which are never in the pool"),
        (["a.png", "test/b.png"], {}, "needs a label for each image in .*test: 1 of them are not in a sub-folder"),
        (["a.png"], {"image_size": 0}, "`image_folder` needs `image_size` of at least 1"),
        (["a.png"], {"batch_size": 0}, "`image_folder` needs `batch_size` of at least 1"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, keys: list[str], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        files(make(tmp_path, *keys), **arguments)


def test_a_class_may_have_any_name_where_it_is_named(tmp_path: Path) -> None:
    found = files(make(tmp_path, "dev/a.png", "ops/b.png", "train/dev/c.png"), classes=["dev", "ops"])
    assert dict(zip(found.keys, found.targets, strict=True)) == {"dev/a.png": 0, "ops/b.png": 1, "train/dev/c.png": 0}


def test_a_folder_of_trains_and_deep_classes_are_classes(tmp_path: Path) -> None:
    found = files(make(tmp_path, "train/a.png", "bus/old/b.png", "bus/new/c.png"), classes=None)
    assert found.classes == ["bus", "train"]
    assert found.targets == [0, 0, 1]
    deep = files(make(tmp_path / "deep", "cat/2023/a.png", "dog/2023/b.png", "dog/2024/c.png"), classes=None)
    assert (deep.classes, deep.targets) == (["cat", "dog"], [0, 1, 1])


def test_the_remedies_of_folders_by_part_work(tmp_path: Path) -> None:
    root = make(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/dog/c.png")
    named = image_folder(root, classes=CLASSES)
    inner = image_folder(root / "train")
    assert named.train_dataloader().dataset.targets == inner.train_dataloader().dataset.targets == [0, 1]
    assert named.val_dataloader().dataset.targets == [1]
    assert inner.classes == CLASSES


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c"):
        (tmp_path / name).write_text("x")
    with pytest.raises(FileNotFoundError, match=r"only 2 \.heic, 1 without an ending\. Give a folder of image files"):
        files(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"`image_folder` found no folder .*photos\. Check the path"):
        files(tmp_path / "photos")
