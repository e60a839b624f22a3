"""What a user may pass as `features`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from lightning_al.data.features.arrays import SPLITS, Arrays
from lightning_al.data.features.encoder import Encoder
from lightning_al.data.features.named import NamedEncoder
from lightning_al.data.features.text_encoder import TextEncoder
from lightning_al.data.features.timm_encoder import TimmEncoder
from lightning_al.run.folder_path import check_can_be_folder, folder_path
from lightning_al.values.parts import described, is_pandas

Given = Encoder | Arrays

BY_PREFIX = {"timm": TimmEncoder, "transformers": TextEncoder}


def read_features(given: Any) -> Given | None:
    """Return an encoder or arrays, from what a user passes as `features`.

    Raises:
        TypeError: If it is neither.
        ValueError: If a text names neither a model nor a ``.npy`` file, or a dict has no arrays for the training data.

    >>> read_features(nn.Flatten()), read_features(np.ones((4, 2))), read_features(None)
    (Encoder(Flatten), Arrays(train=ndarray [4, 2] of float64), None)
    """
    if given is None:
        return None
    if isinstance(given, str) and not given.endswith(".npy"):
        package, colon, name = given.partition(":")
        if not colon or not name or package not in BY_PREFIX:
            raise ValueError(
                f"`ActiveDataModule(features={given!r})` names no encoder. Pass 'timm:NAME', 'transformers:NAME', the "
                "path of a .npy file, a module, a function of a batch's inputs, or an array."
            )
        return Encoder(BY_PREFIX[package](name))
    if isinstance(given, Mapping):
        strange = [name for name in given if name not in SPLITS]
        if strange or "train" not in given:
            raise ValueError(
                f"`ActiveDataModule(features=...)` got arrays for {', '.join(map(str, given)) or 'no data'}. Give "
                f"those of the training data under 'train', and others under {', '.join(SPLITS[1:])}."
            )
        return Arrays(given)
    if isinstance(given, str | os.PathLike | np.ndarray | Tensor):
        return Arrays({"train": given})
    if isinstance(given, NamedEncoder | nn.Module) or (callable(given) and not isinstance(given, type)):
        return Encoder(given)
    shown = described(given) if is_pandas(given) else f"{given!r:.80}"
    raise TypeError(
        f"`ActiveDataModule(features=...)` got {shown}, which is no encoder. Pass a module, a function of a "
        "batch's inputs, 'timm:NAME', 'transformers:NAME', an array, or the path of a .npy file."
    )


def read_cache(given: Any) -> Path | None:
    """Return the folder that a user passes as `cache`, as an absolute path, or None.

    Raises:
        ValueError: If it is not the name of a folder, or something else is there.
    """
    if given is None:
        return None
    folder = folder_path(given, "cache")
    check_can_be_folder(folder, "cache", "a folder of features")
    return folder


def read_inputs(given: Any, features: Given | None) -> Literal["features"] | None:
    """Return what a module gets as inputs, "features" or None for those of the items.

    Raises:
        ValueError: If it is another text, or if there are no features.
    """
    if given is None:
        return None
    if given != "features":
        raise ValueError(
            f"`ActiveDataModule(inputs={given!r})` is not known. Pass 'features', or None for the inputs of the items."
        )
    if features is None:
        raise ValueError(
            "`ActiveDataModule(inputs='features')` trains on features, but `features` is None. Pass an encoder or an "
            "array, on the command line features=pixels, say, or leave `inputs` out (pool.inputs=null)."
        )
    return "features"
