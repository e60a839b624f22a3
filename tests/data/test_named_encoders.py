"""Encoders of timm and transformers, tiny and without a connection; where a package is missing, its part is skipped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lightning_al import ActiveDataModule, TextEncoder, TimmEncoder
from lightning_al.data.features.points import features_at

TINY = "test_vit"  # one of timm's own tests, of 0.3 million weights for images of 160 x 160
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "day", "very"]

# What these packages and their dependencies warn of themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of texts with drawn weights and its tokenizer, saved as a user's are."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("model")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_texts_are_mean_states_of_their_own_tokens(saved: Path) -> None:
    transformers = pytest.importorskip("transformers")
    texts = ["good day", "bad", "very very bad day"]
    data = ActiveDataModule(texts, classes=["a", "b"], initial_size=1, features=f"transformers:{saved}")
    data.setup("fit")
    model = transformers.BertModel.from_pretrained(saved).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    for place, text in enumerate(texts):  # one by one, without padding
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = nn.functional.normalize(states.mean(0), dim=0)
        torch.testing.assert_close(features_at(data, [place])[0], expected, atol=1e-5, rtol=1e-5)


def test_long_texts_are_cut_off(saved: Path) -> None:
    encoder = TextEncoder(str(saved), max_length=4).make().eval()
    assert torch.equal(encoder(["good day bad"]), encoder(["good day very very"]))


def test_other_inputs_than_texts_are_refused(saved: Path) -> None:
    with pytest.raises(TypeError, match=r"encodes texts, but got Tensor \[2, 3\] of float32. Let the dataset"):
        TextEncoder(str(saved)).make()(torch.zeros(2, 3))


def images_data(images: Tensor, **arguments: Any) -> ActiveDataModule:
    data = ActiveDataModule(
        TensorDataset(images, torch.arange(len(images)) % 2),
        initial_size=2,
        features=TimmEncoder(TINY, pretrained=False),
        **arguments,
    )
    data.setup("fit")
    return data


def test_images_are_what_timm_gives(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    images = torch.rand(5, 3, 160, 160)
    data = images_data(images, cache=tmp_path)
    found = features_at(data, range(5))
    [module] = [part for part in data.features.function.modules() if type(part).__module__.startswith("timm.models")][
        :1
    ]
    config = timm.data.resolve_model_data_config(module)
    normalise = timm.data.create_transform(**config).transforms[-1]
    with torch.no_grad():
        expected = module.eval()(torch.stack([normalise(image) for image in images]))
    torch.testing.assert_close(found, expected)
    assert torch.equal(features_at(images_data(images, cache=tmp_path), range(5)), found)
    assert len(list(tmp_path.iterdir())) == 1


def test_images_of_other_sizes_and_one_channel_fit(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    encoder = TimmEncoder(TINY, pretrained=False).make().eval()
    grey = torch.rand(2, 1, 8, 8)
    assert torch.equal(encoder(grey), encoder(grey.expand(2, 3, 8, 8)))
    pixels = (255 * grey).to(torch.uint8)
    assert torch.equal(encoder(pixels), encoder(pixels.float() / 255))
    with pytest.raises(TypeError, match=r"encodes images \[n, 3, H, W\], but got \[str\]. Let the dataset give images"):
        encoder(["a"])


def test_an_unknown_network_is_refused() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=r"names no network of timm. Choose one, such as .*resnet18"):
        TimmEncoder("resnet19").make()


@pytest.mark.parametrize("encoder", [TimmEncoder(), TextEncoder()], ids=["timm", "transformers"])
def test_where_a_package_is_missing_the_error_says_how_to_install_it(
    encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = encoder.name.partition(":")[0]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError,
        match=rf"needs {package}, which is not installed. Install it by `pip install 'lightning_al\[features\]'`",
    ):
        encoder.make()


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_model_that_is_not_here_is_one_error_without_a_connection(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    hub = pytest.importorskip("huggingface_hub")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    name = TINY if package == "timm" else "nobody/nothing"
    with pytest.raises(
        FileNotFoundError, match=r"found no such model on this machine, and could not download"
    ) as found:
        (TimmEncoder(name) if package == "timm" else TextEncoder(name)).make()
    assert found.value.__suppress_context__
    assert hub.constants.HF_HUB_OFFLINE is False
