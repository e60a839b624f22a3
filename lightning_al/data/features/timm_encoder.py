"""Features of images by a network of timm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from lightning_al.data.features.named import NamedEncoder, not_found, not_installed, without_retries
from lightning_al.run.seeds import seeded
from lightning_al.values.parts import described


@final
@dataclass(frozen=True)
class TimmEncoder(NamedEncoder):
    """Encode images by the network before its last layer, with the weights that timm downloads.

    Images are ``[n, 3, H, W]`` or ``[n, 1, H, W]``, floats from 0 to 1 or uint8. They are resized to the size that the
    weights were trained with, and normalised as there.

    Args:
        model: Name of the network in timm.
        pretrained: Whether to load weights, and not to draw them with a fixed seed.

    >>> TimmEncoder("resnet18").name
    'timm:resnet18'
    """

    model: str = "resnet18"
    pretrained: bool = True

    @property
    @override
    def name(self) -> str:
        return f"timm:{self.model}"

    @override
    def make(self) -> nn.Module:
        try:
            import timm
        except ImportError as error:
            raise not_installed(self.name, "timm") from error
        if not timm.is_model(self.model.partition(".")[0]):
            near = get_close_matches(self.model, timm.list_models(), n=3, cutoff=0.5) or ["resnet18"]
            raise ValueError(
                f"`ActiveDataModule(features={self.name!r})` names no network of timm. Choose one, such as "
                f"{', '.join(near)}."
            )
        try:
            with without_retries(), seeded(0):
                network = timm.create_model(self.model, pretrained=self.pretrained, num_classes=0)
        except Exception as error:  # whatever a download may raise
            if not self.pretrained:
                raise
            raise not_found(self.name, error) from None
        trained: Any = network.pretrained_cfg
        return _OfImages(network, self.name, trained["mean"], trained["std"], trained["input_size"][-2:])


class _OfImages(nn.Module):
    """Resize and normalise images for a network."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, name: str, mean: Sequence[float], std: Sequence[float], size: Sequence[int]
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.size = tuple(size)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    @override
    def forward(self, images: Any) -> Tensor:
        """Return features ``[n, D]``.

        Raises:
            TypeError: If these are no images.
        """
        channels = len(self.mean)
        if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] not in (1, channels):
            raise TypeError(
                f"`{self.name}` encodes images [n, {channels}, H, W], but got {described(images)}. Let the dataset "
                "give images as tensors from 0 to 1, or pass a function that makes such images and encodes them."
            )
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if tuple(images.shape[-2:]) != self.size:
            images = nn.functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        found: Tensor = self.network((images.expand(-1, channels, -1, -1) - self.mean) / self.std)
        return found
