"""Features of points that do not depend on the network: read from arrays, or computed once by a frozen encoder."""

from lightning_al.data.features.arrays import Arrays
from lightning_al.data.features.encoder import Encoder
from lightning_al.data.features.frozen import FrozenFeatures
from lightning_al.data.features.given import Given, read_cache, read_features, read_inputs
from lightning_al.data.features.named import NamedEncoder
from lightning_al.data.features.text_encoder import TextEncoder
from lightning_al.data.features.timm_encoder import TimmEncoder

__all__ = [
    "Arrays",
    "Encoder",
    "FrozenFeatures",
    "Given",
    "NamedEncoder",
    "TextEncoder",
    "TimmEncoder",
    "read_cache",
    "read_features",
    "read_inputs",
]
