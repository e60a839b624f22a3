from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from lightning_al.demos import Digits


def loaded(**arguments) -> Digits:
    data = Digits(**arguments)
    data.setup()
    return data


def test_train_and_test_together_are_all_digits_once():
    data = loaded(test_size=450)
    images = torch.cat([data.train.tensors[0], data.test.tensors[0]])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    both = sorted(map(tuple, (images.flatten(1) * 16).long().tolist()))
    assert both == sorted(map(tuple, load_digits().data.astype(int).tolist()))


def test_split_is_stratified_and_follows_the_seed():
    counts = loaded().test.tensors[1].bincount()
    assert counts.max() - counts.min() <= 3
    assert torch.equal(loaded(seed=1).train.tensors[0], loaded(seed=1).train.tensors[0])
    assert not torch.equal(loaded(seed=1).train.tensors[0], loaded(seed=2).train.tensors[0])


def test_copies_differ_by_noise_of_the_given_size_and_keep_their_label():
    plain, noisy = loaded(), loaded(repeats=3, noise=0.05)
    n = len(plain.train)
    assert len(noisy.train) == 3 * n
    images, labels = noisy.train.tensors
    differences = images.reshape(3, n, -1) - plain.train.tensors[0].reshape(1, n, -1)
    assert differences.std() == pytest.approx(0.05, rel=0.01)
    assert not torch.equal(images[:n], images[n : 2 * n])
    assert torch.equal(labels, plain.train.tensors[1].repeat(3))
    assert torch.equal(noisy.test.tensors[0], plain.test.tensors[0])
    assert torch.equal(images, loaded(repeats=3, noise=0.05).train.tensors[0])


def test_loaders():
    data = loaded(batch_size=16)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (16, 1, 8, 8)
    assert labels.dtype == torch.int64
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 450


@pytest.mark.parametrize("arguments", [{"repeats": 0}, {"noise": -0.1}])
def test_impossible_copies_are_refused(arguments):
    with pytest.raises(ValueError, match=r"expects `repeats` of 1 or more and `noise` of 0 or more"):
        loaded(**arguments)
