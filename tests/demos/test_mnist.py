from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch
from torchvision import datasets

from lightning_al.demos import MNIST
from lightning_al.host.namespace import is_overridden

N = {"train": 60, "t10k": 20}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the four files in MNIST's own format, holding a few random images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for part, n in N.items():
        images = torch.randint(256, (n, 28, 28), dtype=torch.uint8, generator=generator)
        labels = torch.arange(n, dtype=torch.uint8) % 10
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.numpy().tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + labels.numpy().tobytes())
    return tmp_path


def loaded(root: Path, **arguments) -> MNIST:
    data = MNIST(root, download=False, **arguments)
    data.prepare_data()
    data.setup()
    return data


def test_images_are_scaled_as_usual(root):
    data = loaded(root)
    files = datasets.MNIST(root, train=True)
    images, labels = data.train.tensors
    assert torch.allclose(images[:, 0], (files.data / 255 - 0.1307) / 0.3081, atol=1e-6)
    assert torch.equal(labels, files.targets.long())
    assert len(data.test) == N["t10k"]
    assert not is_overridden("val_dataloader", data)


def test_train_and_validation_share_no_image(root):
    data = loaded(root, val_size=10, train_size=30)
    assert (len(data.val), len(data.train)) == (10, 30)
    both = torch.cat([data.val.tensors[0], data.train.tensors[0]]).flatten(1)
    assert len(both.unique(dim=0)) == 40
    assert torch.equal(loaded(root, val_size=10, train_size=30).train.tensors[0], data.train.tensors[0])
    assert not torch.equal(
        loaded(root, train_size=30, seed=1).train.tensors[0], loaded(root, train_size=30).train.tensors[0]
    )
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 10


def test_repeats_come_after_the_split(root):
    data = loaded(root, val_size=10, repeats=3, noise=0.1)
    assert (len(data.val), len(data.train)) == (10, 150)


@pytest.mark.parametrize("sizes", [{"val_size": 60}, {"val_size": 10, "train_size": 51}, {"train_size": 0}])
def test_too_many_images_are_refused(root, sizes):
    with pytest.raises(ValueError, match=r"has 60 train images, but got val_size=\d+ and train_size="):
        loaded(root, **sizes)


def test_missing_files_are_named_with_their_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`MNIST` expects the files train-images-idx3-ubyte, .*MNIST.raw"
    ) as raised:
        MNIST(tmp_path, download=False).prepare_data()
    assert "t10k-labels-idx1-ubyte" in str(raised.value)


def test_no_network_says_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(FileNotFoundError, match="could not download them"):
        MNIST(tmp_path).prepare_data()


def test_packed_files_are_unpacked_without_a_network(root, monkeypatch):
    raw = root / "MNIST" / "raw"
    resources = []
    for path in list(raw.iterdir()):
        packed = raw / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        resources.append((packed.name, None))
    # The real sums are those of the real files.
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    MNIST(root).prepare_data()
    assert len(loaded(root).train) == N["train"]


def test_an_unbalanced_pool_has_the_sizes_asked_for_and_is_drawn_by_its_seed(root):
    sizes = [1, 4, 0, 6, 2, 1, 1, 1, 3, 5]
    data, other = loaded(root, class_sizes=sizes), loaded(root, class_sizes=sizes, seed=1)
    assert data.train.tensors[1].bincount(minlength=10).tolist() == sizes
    assert len(data.train.tensors[0].flatten(1).unique(dim=0)) == sum(sizes)
    assert not torch.equal(data.train.tensors[0], other.train.tensors[0])
    assert len(data.test) == N["t10k"]


@pytest.mark.parametrize(
    "given", [{"class_sizes": [1] * 9}, {"class_sizes": [7] * 10}, {"class_sizes": [1] * 10, "train_size": 10}]
)
def test_class_sizes_that_do_not_fit_are_refused(root, given):
    with pytest.raises(ValueError, match="expects class_sizes to be 10 numbers of images"):
        loaded(root, **given)


def test_fewer_test_images_are_spread_over_the_file(root):
    few, all = loaded(root, test_size=5).test.tensors[1], loaded(root).test.tensors[1]
    assert torch.equal(few, all[::4])
    with pytest.raises(ValueError, match="expects test_size from 1 to 20, but got 21"):
        loaded(root, test_size=21)
