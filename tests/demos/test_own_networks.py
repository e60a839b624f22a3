"""Networks for data of one's own: images, texts and vectors."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from lightning_al import ActiveDataModule, ActiveLearning, MCDropout
from lightning_al.demos import Classifier, image_network, mlp, table_network, text_network
from tests.support.tasks import trainer

SMALL = "shufflenet_v2_x0_5"
WORDS = ["good", "well", "bad", "poor"]


def layers(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [part for part in network.modules() if type(part) is kind]


@pytest.mark.parametrize("name", [SMALL, "mobilenet_v3_small"])
def test_an_image_network_has_a_head_for_the_classes(name: str) -> None:
    network = image_network(name, 3).eval()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert layers(network, nn.Linear)[-1].out_features == 3
    assert layers(network, nn.Dropout)[-1].p == 0.5
    assert len(layers(image_network(name, 3, dropout=0), nn.Dropout)) == len(layers(network, nn.Dropout)) - 1


def test_images_are_normalised_as_those_of_imagenet() -> None:
    normalise = image_network(SMALL, 2)[0]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    sd = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(normalise(mean + sd), torch.ones(1, 3, 1, 1))


@pytest.mark.parametrize(
    "wrapped", [lambda state: state, lambda state: {"state_dict": state}], ids=["plain", "wrapped"]
)
def test_weights_of_a_file_are_loaded_but_for_the_head(tmp_path: Path, wrapped: Callable[[Any], Any]) -> None:
    from torchvision import models

    theirs = models.get_model(SMALL, weights=None)
    torch.save(wrapped(theirs.state_dict()), tmp_path / "weights.pt")
    ours = image_network(SMALL, 3, weights=tmp_path / "weights.pt")[1]
    assert ours.fc[1].out_features == 3
    for name, value in theirs.state_dict().items():
        assert name.startswith("fc.") or torch.equal(ours.state_dict()[name], value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(image_network("mobilenet_v3_small", 2)[1].state_dict(), path)
    with pytest.raises(ValueError, match="which is not of the network 'shufflenet_v2_x0_5': they differ in"):
        image_network(SMALL, 2, weights=path)
    path.write_text("none")
    with pytest.raises(ValueError, match=r"cannot read .*weights\.pt: .* Pass a file that `torch\.save` made of"):
        image_network(SMALL, 2, weights=path)
    with pytest.raises(FileNotFoundError, match=r"found no file .*gone\.pt\. Pass the path of a state dict"):
        image_network(SMALL, 2, weights=tmp_path / "gone.pt")


def no_network(*arguments: Any, **options: Any) -> Any:
    raise URLError("no route to host")


def test_where_weights_cannot_be_downloaded_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(
        FileNotFoundError, match=r"could not download the weights of '.*_x0_5': URLError: .* Load"
    ) as found:
        image_network(SMALL, 2, weights="default")
    assert found.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet19", "`image_network` found no network 'resnet19' in torchvision. Choose one .* resnet18"),
        ("zzz", "found no network 'zzz' in torchvision. Choose one of its networks for classification"),
        (
            "squeezenet1_0",
            "found no linear layer at the end of 'squeezenet1_0', which it could replace. Choose another",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        image_network(name, 2)


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="needs timm for the network 'timm:resnet10t', which is not installed"):
        image_network("timm:resnet10t", 2)


def test_a_network_of_timm_has_a_head_for_the_classes() -> None:
    pytest.importorskip("timm")
    network = image_network("timm:resnet10t", 3).eval()
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    with pytest.raises(ValueError, match="found no network 'timm:hf-hub:x/y' in timm"):
        image_network("timm:hf-hub:x/y", 2)


def test_texts_become_the_same_buckets_in_every_process() -> None:
    network = text_network(2, num_buckets=50, width=4, pairs=False).eval()
    texts = ["Good, so good!", "", "good"]
    assert torch.equal(network(texts), network(tuple(texts)))
    weights = network[0].embeddings.weight
    assert torch.equal(network[0](["GOOD"])[0], weights[0x6C844E92 % 50])  # the CRC-32 of "good"
    assert torch.equal(network[0](["good good"]), network[0](["good"]))
    assert torch.equal(network[0]([""])[0], torch.zeros(4))


def test_pairs_of_words_tell_the_order() -> None:
    both = ["dog bites man", "man bites dog"]
    with_pairs, without = (text_network(2, pairs=pairs).eval()(both) for pairs in (True, False))
    assert torch.allclose(without[0], without[1])
    assert not torch.allclose(with_pairs[0], with_pairs[1])


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"`text_network` takes a list of texts, but got Tensor .* Choose a network for"
    ):
        text_network(2)(torch.zeros(2, 3))
    with pytest.raises(TypeError, match="`mlp` takes vectors, but got None as their length `num_inputs`"):
        mlp(None, 2)  # type: ignore[arg-type]


def test_a_table_gets_the_network_of_its_columns() -> None:
    assert table_network(4, 3)(torch.zeros(2, 4)).shape == (2, 3)
    assert layers(table_network(4, 3), nn.Linear)[0].in_features == 4
    assert table_network(None, 3)(WORDS).shape == (4, 3)


class Items(Dataset[Any]):
    """Inputs of some kind with their classes."""

    def __init__(self, form: Callable[[int], Any]) -> None:
        self.form = form

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return self.form(index % 2), index % 2


@pytest.mark.parametrize(
    ("network", "form"),
    [
        (lambda: text_network(2, num_buckets=64), lambda label: WORDS[2 * label]),
        pytest.param(lambda: mlp(3, 2, width=16), lambda label: torch.ones(3) * label, marks=pytest.mark.slow),
    ],
    ids=["texts", "vectors"],
)
def test_a_run_learns_with_each_network(tmp_path: Path, network: Callable[[], nn.Module], form: Any) -> None:
    torch.manual_seed(0)
    model = Classifier(network(), num_classes=2, lr=0.03)
    data = ActiveDataModule(Items(form), test=Items(form), initial_size=8, samples_per_epoch=64, seed=0, batch_size=16)
    active = ActiveLearning("bald", query_size=4, max_rounds=2, posterior=MCDropout(3), seed=0)
    trainer(tmp_path, max_epochs=4, callbacks=[active]).fit(model, datamodule=data)
    assert [len(round.indices) for round in active.history] == [4, 0]
    assert active.history[-1].metrics["test_acc"] > 0.9
