"""MCDropout on models of torchvision, timm and transformers as they are: sampled without a change, or refused by name.

Weights are random, and models as small as their libraries let them be.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torchvision import models

from lightning_al import MCDropout
from tests.support.samples import log_probs_of

pytestmark = pytest.mark.slow

TRANSFORMER = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
STAGED = {"patch_size": [4, 4], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": [4, 4]}
CHANNELS = {"stem_channels": 16, "block_channels": [16, 32], "block_layers": [1, 1], "head_dim": 8}
MAXVIT = {**CHANNELS, "input_size": (32, 32), "partition_size": 4}

TORCHVISION: dict[str, tuple[int, dict[str, Any]]] = {
    "VisionTransformer": (32, {**TRANSFORMER, "dropout": 0.2, "attention_dropout": 0.3}),
    "SwinTransformer": (32, {**STAGED, "dropout": 0.1, "attention_dropout": 0.1, "stochastic_depth_prob": 0.3}),
    "MaxVit": (32, {**MAXVIT, "stochastic_depth_prob": 0.3}),
    "convnext_tiny": (32, {"stochastic_depth_prob": 0.3}),
    "efficientnet_b0": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "mnasnet0_5": (32, {}),
    "squeezenet1_1": (32, {}),
    "vgg11": (32, {}),
    "DenseNet": (32, {"block_config": (2, 2), "drop_rate": 0.2}),
    "googlenet": (64, {"init_weights": False}),
    "inception_v3": (128, {"init_weights": False}),
}
"""By name: the size of images, and arguments."""

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.3}
WINDOWS = {"img_size": 32, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}
DROPS = {"drop_rate": 0.1, "proj_drop_rate": 0.1, "attn_drop_rate": 0.1}

TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, {**VIT, **DROPS, "pos_drop_rate": 0.1}),
    "vit_small_patch16_224": (32, {**VIT, "patch_drop_rate": 0.5}),
    "deit_tiny_distilled_patch16_224": (32, {**VIT, **DROPS}),
    "cait_xxs24_224": (32, {**VIT, **DROPS}),
    "beit_base_patch16_224": (32, {**VIT, **DROPS, "head_init_scale": 1.0}),
    "swin_tiny_patch4_window7_224": (32, {**WINDOWS, **DROPS, "drop_path_rate": 0.3}),
    "swinv2_tiny_window8_256": (32, {**WINDOWS, **DROPS, "drop_path_rate": 0.3}),
    "mixer_s32_224": (64, {"img_size": 64, "drop_rate": 0.1, "proj_drop_rate": 0.1, "drop_path_rate": 0.3}),
    "resnet10t": (64, {"drop_rate": 0.2, "drop_path_rate": 0.3, "drop_block_rate": 0.2}),
    "convnext_atto": (32, {"drop_rate": 0.1, "drop_path_rate": 0.3}),
    "efficientnet_b0": (32, {"drop_rate": 0.2, "drop_path_rate": 0.3}),
    "mobilenetv3_small_050": (32, {"drop_rate": 0.2, "drop_path_rate": 0.3}),
    "densenet121": (32, {"drop_rate": 0.2, "growth_rate": 8, "block_config": (2, 2)}),
    "pvt_v2_b0": (32, {**DROPS, "drop_path_rate": 0.3}),
}

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 49, "sep_token_id": 2}
SEQ2SEQ = {"decoder_layers": 4, "encoder_layers": 4, "decoder_attention_heads": 2, "decoder_start_token_id": 49}
LAYER_DROP = {"encoder_layerdrop": 0.4, "decoder_layerdrop": 0.4}
IMAGE = {**SMALL, "image_size": 16, "patch_size": 4, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
STAGES = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}
AUDIO = {**SMALL, "conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 4), "num_conv_pos_embeddings": 8}

BOTH = ("eager", "sdpa")
TRANSFORMERS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "Bert": ("text", BOTH, {**TEXT, **SMALL}),
    "DistilBert": ("text", BOTH, {**TEXT, **SMALL, "hidden_dim": 32}),
    "Roberta": ("text", BOTH, {**TEXT, **SMALL}),
    "GPT2": ("text", BOTH, {**TEXT, **SMALL}),
    "Llama": ("text", BOTH, {**TEXT, **SMALL, "attention_dropout": 0.1}),
    "OPT": ("text", BOTH, {**TEXT, **SMALL, "ffn_dim": 32, "word_embed_proj_dim": 16, "layerdrop": 0.4}),
    "T5": ("text", BOTH, {**TEXT, **SMALL, "d_ff": 32, "decoder_start_token_id": 0}),
    "Bart": ("text", BOTH, {**TEXT, **SMALL, **SEQ2SEQ, **LAYER_DROP, "attention_dropout": 0.1}),
    "Deberta": ("text", ("eager",), {**TEXT, **SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "DebertaV2": ("text", ("eager",), {**TEXT, **SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "Albert": ("text", BOTH, {**TEXT, **SMALL, "embedding_size": 8, "attention_probs_dropout_prob": 0.1}),
    "Electra": ("text", BOTH, {**TEXT, **SMALL, "embedding_size": 8}),
    "ModernBert": ("text", BOTH, {**TEXT, **SMALL, "cls_token_id": 1, "attention_dropout": 0.1, "mlp_dropout": 0.1}),
    "ViT": ("image", BOTH, IMAGE),
    "Beit": ("image", BOTH, {**IMAGE, "drop_path_rate": 0.3}),
    "Dinov2": ("image", BOTH, {**IMAGE, "drop_path_rate": 0.3}),
    "Swin": ("image", ("eager",), {**STAGES, "hidden_dropout_prob": 0.1, "drop_path_rate": 0.3}),
    "Wav2Vec2": ("audio", BOTH, {**AUDIO, "num_conv_pos_embedding_groups": 2, "mask_time_length": 2}),
}
"""By name: what it classifies, implementations of attention, and arguments of the configuration."""

ZOO = [
    *(f"torchvision {name}" for name in TORCHVISION),
    *(f"timm {name}" for name in TIMM),
    *(f"transformers {name} {attention}" for name, (_, kinds, _) in TRANSFORMERS.items() for attention in kinds),
]
WITHOUT_STATISTICS = [
    "torchvision SwinTransformer",
    "timm vit_tiny_patch16_224",
    "timm convnext_atto",
    "transformers Bert eager",
    "transformers DebertaV2 eager",
    "transformers Beit sdpa",
]
"""Models without batch norm, whose points see nothing of one another in training mode."""


def images(n: int, size: int) -> Tensor:
    return torch.randn(n, 3, size, size)


def texts(n: int, length: int = 7) -> dict[str, Tensor]:
    """Texts of several lengths, padded to one."""
    ends = length - 1 - torch.arange(n) % 3
    places = torch.arange(length).expand(n, -1)
    tokens = torch.randint(3, 49, (n, length)).where(places < ends[:, None], 0)
    tokens[torch.arange(n), ends] = TEXT["eos_token_id"]
    return {"input_ids": tokens, "attention_mask": (places <= ends[:, None]).long()}


def classify(model: nn.Module, batch: Any) -> Tensor:
    return model(**batch).logits if isinstance(batch, dict) else model(batch)


def make(name: str, n: int = 11) -> tuple[nn.Module, Any]:
    """Make a model and points."""
    torch.manual_seed(0)
    library, kind, *attention = name.split()
    if library == "torchvision":
        size, arguments = TORCHVISION[kind]
        model, pool = getattr(models, kind)(num_classes=3, **arguments), images(n, size)
    elif library == "timm":
        size, arguments = TIMM[kind]
        model = pytest.importorskip("timm").create_model(kind, pretrained=False, num_classes=3, **arguments)
        pool = images(n, size)
    else:
        transformers = pytest.importorskip("transformers")
        task, _, arguments = TRANSFORMERS[kind]
        config = getattr(transformers, f"{kind}Config")(num_labels=3, **arguments)
        classifier = {"text": "Sequence", "image": "Image", "audio": "Audio"}[task]
        auto = getattr(transformers, f"AutoModelFor{classifier}Classification")
        model = auto.from_config(config, attn_implementation=attention[0])
        pool = {
            "text": texts,
            "image": lambda n: {"pixel_values": images(n, 16)},
            "audio": lambda n: {"input_values": torch.randn(n, 400)},
        }[task](n)
    with torch.no_grad():
        for weight in model.parameters():
            # A head of zeros, or layers scaled to almost nothing, would hide noise.
            if weight.min() == weight.max():
                weight.add_(0.1 * torch.randn_like(weight))
    return model.eval(), pool


def split(pool: Any, size: int) -> list[Any]:
    n = len(pool if isinstance(pool, Tensor) else next(iter(pool.values())))
    return [pick(pool, slice(start, start + size)) for start in range(0, n, size)]


def pick(pool: Any, points: Any) -> Any:
    return tree_map(lambda values: values[points], pool)


def predict(model: nn.Module, batches: Any, num_samples: int = 4, seed: int = 0) -> Tensor:
    return torch.cat(list(log_probs_of(MCDropout(num_samples), model, batches, forward=classify, seed=seed)))


@pytest.mark.parametrize("name", ZOO)
def test_sample_k_is_one_function_of_a_point(name: str) -> None:
    model, pool = make(name)
    whole = predict(model, [pool])
    assert whole.std(1).max() > 1e-4
    for size in (5, 4, 1):
        torch.testing.assert_close(predict(model, split(pool, size)), whole, rtol=0, atol=1e-5)
    order = torch.randperm(11)
    shuffled = predict(model, split(pick(pool, order), 6))
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-5)
    assert (predict(model, [pool], seed=1) - whole).abs().max() > 1e-4


@pytest.mark.parametrize("name", ZOO)
def test_the_model_is_left_as_it_was(name: str) -> None:
    model, pool = make(name, n=5)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    generator = torch.get_rng_state()
    predict(model, split(pool, 4), num_samples=2)
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes
    assert torch.get_rng_state().equal(generator)


@pytest.mark.parametrize("name", WITHOUT_STATISTICS)
def test_samples_are_distributed_as_the_model_s_own_noise(name: str) -> None:
    model, pool = make(name, n=2)
    num_samples = 200
    ours = predict(model, [pool], num_samples).exp()
    with torch.no_grad():
        logits = classify(model.train(), tree_map(lambda values: values.repeat_interleave(num_samples, 0), pool))
    own = logits.view(2, num_samples, -1).softmax(-1)
    error = ((ours.var(1) + own.var(1)) / num_samples).sqrt()
    assert ((ours.mean(1) - own.mean(1)).abs() <= 4.5 * error + 1e-5).all()
    spread = ours.std(1) / own.std(1)
    assert 0.7 < spread.min() < spread.max() < 1.4


def test_a_model_without_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found no dropout in `ResNet`.*Add `nn.Dropout` with p > 0"):
        predict(models.resnet18(num_classes=3), [images(4, 32)])


def test_outputs_of_transformers_are_refused_with_the_remedy() -> None:
    model, pool = make("transformers Bert sdpa")
    with pytest.raises(ValueError, match=r"the module gave SequenceClassifierOutput\. Pass `forward=`, a function"):
        next(log_probs_of(MCDropout(), model, [pool], forward=lambda model, batch: model(**batch), seed=0))


def test_texts_padded_to_another_length_in_each_batch_are_refused_with_the_remedy() -> None:
    model, _ = make("transformers Bert sdpa")
    with pytest.raises(ValueError, match=r"\[1, 7, 16\] in one batch and \[1, 9, 16\] in another.*padding them to one"):
        predict(model, [texts(4, 7), texts(4, 9)])
