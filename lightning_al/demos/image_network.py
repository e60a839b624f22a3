"""Networks of torchvision and timm for images of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_al.values.errors import said_shortly

OF_TIMM = "timm:"
"""How the name of a network of timm begins."""

DOWNLOADED = "default"
"""What `weights` is for the weights that torchvision or timm downloads."""

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet, for which the weights of both packages were trained."""


class Normalised(nn.Module):
    """Subtract the mean of ImageNet from images ``[n, 3, H, W]``, and divide by its standard deviation.

    >>> Normalised()(torch.full((1, 3, 1, 1), 0.485))[0, 0].item()
    0.0
    """

    mean: Tensor
    sd: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("sd", torch.tensor(SD).view(3, 1, 1))

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape."""
        return (images - self.mean) / self.sd


def image_network(
    name: str, num_classes: int, *, dropout: float = 0.5, weights: str | os.PathLike[str] | None = None
) -> nn.Sequential:
    """Return a network of torchvision or timm for images ``[n, 3, H, W]`` from 0 to 1, with a new last layer.

    Args:
        name: Name of the network in torchvision, such as ``resnet18``, or in timm after ``timm:``.
        num_classes: Number of classes.
        dropout: Rate of the dropout before the last layer; 0 for none.
        weights: Weights to begin with: a file of a state dict, or "default" for those that torchvision or timm
            download. Those of the last layer are left out. By default, weights are drawn.

    Raises:
        ValueError: If there is no such network, or the weights are of another one.
        ImportError: If timm is not installed.
        FileNotFoundError: If there is no such file, or weights cannot be downloaded.

    >>> image_network("mobilenet_v3_small", 3).eval()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 3])
    """
    network = _network(name, downloaded=weights == DOWNLOADED)
    path = _last_layer_of(network)
    if path is None:
        raise ValueError(
            f"`image_network` found no linear layer at the end of {name!r}, which it could replace. Choose another "
            "network, such as 'resnet18'."
        )
    if weights is not None and weights != DOWNLOADED:
        _load(network, weights, without=path, name=name)
    last = network.get_submodule(path)
    assert isinstance(last, nn.Linear)
    fresh = nn.Linear(last.in_features, num_classes)
    owner = network.get_submodule(path.rpartition(".")[0])
    setattr(owner, path.rpartition(".")[2], nn.Sequential(nn.Dropout(dropout), fresh) if dropout else fresh)
    return nn.Sequential(Normalised(), network)


def _network(name: str, *, downloaded: bool) -> nn.Module:
    if name.startswith(OF_TIMM):
        return _of_timm(name.removeprefix(OF_TIMM), downloaded=downloaded)
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(name, known, "torchvision")
    # Other outputs beside the logits are for a training loop of their own.
    more = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    try:
        network: nn.Module = models.get_model(name, weights="DEFAULT" if downloaded else None, **more)
    except Exception as error:
        if not downloaded:
            raise
        raise _not_downloaded(name, error) from None
    return network


def _of_timm(name: str, *, downloaded: bool) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"`image_network` needs timm for the network {OF_TIMM + name!r}, which is not installed. Install it by "
            "`pip install timm`, or choose a network of torchvision."
        ) from error
    if not timm.is_model(name):
        raise _unknown(OF_TIMM + name, [OF_TIMM + one for one in timm.list_models()], "timm")
    try:
        network: nn.Module = timm.create_model(name, pretrained=downloaded)
    except Exception as error:
        if not downloaded:
            raise
        raise _not_downloaded(OF_TIMM + name, error) from None
    return network


def _unknown(name: str, known: list[str], package: str) -> ValueError:
    near = get_close_matches(name, known, n=3, cutoff=0.5) or ["resnet18"]
    return ValueError(
        f"`image_network` found no network {name!r} in {package}. Choose one of its networks for classification, such "
        f"as {', '.join(near)}."
    )


def _not_downloaded(name: str, error: Exception) -> FileNotFoundError:
    return FileNotFoundError(
        f"`image_network` could not download the weights of {name!r}: {said_shortly(error)}. Load them from a file by "
        "`weights=`, a path, or leave `weights` out to begin with drawn ones."
    )


def _last_layer_of(network: nn.Module) -> str | None:
    """Return the name of the last linear layer, or None if another layer with weights comes after it."""
    path = next((key for key in reversed(dict(network.named_parameters())) if key.endswith(".weight")), "")
    path = path.removesuffix(".weight")
    return path if path and isinstance(network.get_submodule(path), nn.Linear) else None


def _load(network: nn.Module, path: str | os.PathLike[str], *, without: str, name: str) -> None:
    """Load a state dict into a network, but for one layer."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`image_network(weights=...)` found no file {os.fspath(path)}. Pass the path of a state dict, or "
            "'default' to download weights."
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"`image_network(weights=...)` cannot read {os.fspath(path)}: {said_shortly(error)}. Pass a file that "
            "`torch.save` made of a state dict."
        ) from error
    found = found.get("state_dict", found) if isinstance(found, Mapping) else {}
    own = network.state_dict()
    left_out = {key for key in own if key.startswith(f"{without}.")}
    found = {key: value for key, value in found.items() if key not in left_out}
    differing = sorted((set(own) - left_out) ^ set(found)) + [
        key for key, value in found.items() if key in own and _shape(value) != own[key].shape
    ]
    if differing:
        raise ValueError(
            f"`image_network(weights=...)` got {os.fspath(path)}, which is not of the network {name!r}: they differ in "
            f"{', '.join(differing[:3])}. Choose the network by `name=` that the weights are of."
        )
    network.load_state_dict({**found, **{key: own[key] for key in left_out}})


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)
