"""Predict a pool by every method of sampling dropout, in turns in this process, and print the times as a line of JSON.

``tests.benchmarks.posterior`` starts this once for each case, with the interpreter that has the methods. A method is
given a network and returns how to predict with it; only the prediction is timed. All methods predict the same batches
with the same weights, and give log-probabilities. On a GPU, a prediction ends when the GPU has ended it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from runpy import run_path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks.machine import ROOT, limit_memory, product_rate, version
from tests.support.samples import log_probs_of

Predict = Callable[[Sequence[Tensor]], Tensor]
"""Returns log-probabilities ``[N, K, C]`` of the points of all batches."""


def plain_loop(network: nn.Module, K: int) -> Predict:
    """Do what people write by hand: dropout stays on, everything else is evaluated, and each pass draws new masks."""
    dropouts = [part for part in network.modules() if isinstance(part, _DropoutNd)]

    def predict(batches: Sequence[Tensor]) -> Tensor:
        network.eval()
        for dropout in dropouts:
            dropout.train()
        with torch.no_grad():
            samples = [[network(batch).log_softmax(1) for _ in range(K)] for batch in batches]
        return torch.cat([torch.stack(samples_n_C, dim=1) for samples_n_C in samples])

    return predict


def ours(network: nn.Module, K: int) -> Predict:
    """Predict by this library."""
    from lightning_al.posterior.mc_dropout import MCDropout

    posterior = MCDropout(num_samples=K)

    def predict(batches: Sequence[Tensor]) -> Tensor:
        chunks = log_probs_of(posterior, network, batches, seed=0)
        return torch.cat(list(chunks))

    return predict


def baal(network: nn.Module, K: int, *, layers: str, replicate: bool) -> Predict:
    """Predict by baal: with its layers in place of dropout, in K passes or in one over K copies of the batch."""
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    patched = importlib.import_module(f"baal.bayesian.{layers}").patch_module(network, inplace=False)
    dropouts = [part for part in patched.modules() if isinstance(part, _DropoutNd)]
    on_gpu = any(weight.is_cuda for weight in network.parameters())
    wrapper = ModelWrapper(patched, TrainingArgs(use_cuda=on_gpu, replicate_in_memory=replicate))

    def predict(batches: Sequence[Tensor]) -> Tensor:
        wrapper.eval()
        for dropout in dropouts:
            dropout.eval()  # a consistent one forgets its mask by this call alone, which its parent's does not make
        logits = [wrapper.predict_on_batch(batch, K) for batch in batches]
        return torch.cat([logits_n_C_K.log_softmax(1).transpose(1, 2) for logits_n_C_K in logits])

    return predict


METHODS: dict[str, Callable[[nn.Module, int], Predict]] = {
    "plain loop": plain_loop,
    "lightning_al": ours,
    "baal, loop": partial(baal, layers="dropout", replicate=False),
    "baal, replicated": partial(baal, layers="dropout", replicate=True),
    "baal, consistent, replicated": partial(baal, layers="consistent_dropout", replicate=True),
}


def paper_cnn() -> nn.Module:
    # Read alone: the package around it imports Lightning, which this interpreter may not have.
    network: nn.Module = run_path(str(ROOT / "lightning_al" / "demos" / "networks.py"))["paper_cnn"]()
    return network


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, 10),
    )


def resnet18_late() -> nn.Module:
    """Drop units before the last layer only."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=10)
    network.fc = nn.Sequential(nn.Dropout(0.2), network.fc)
    return network


def resnet18_stages() -> nn.Module:
    """Drop channels after each of the four stages."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=10)
    for name in ("layer1", "layer2", "layer3", "layer4"):
        setattr(network, name, nn.Sequential(getattr(network, name), nn.Dropout2d(0.1)))
    return network


def vit_b_16() -> nn.Module:
    from torchvision.models import vit_b_16

    network: nn.Module = vit_b_16(image_size=64, dropout=0.1, attention_dropout=0.0, num_classes=10)
    for part in network.heads.modules():
        if isinstance(part, nn.Linear):
            part.reset_parameters()  # it begins at zero, where all samples would be equal
    return network


def bert() -> nn.Module:
    """Make a small BERT, without dropout of attention, which only some of the methods would sample."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        vocab_size=1000,
        attention_probs_dropout_prob=0.0,
        num_labels=10,
    )
    return Logits(BertForSequenceClassification(config))


class Logits(nn.Module):
    """Return the logits alone, as all methods expect it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_n_L: Tensor) -> Tensor:
        logits: Tensor = self.model(tokens_n_L).logits
        return logits


def images(*shape: int) -> Callable[[int], Tensor]:
    return lambda N: torch.randn(N, *shape)


def tokens(length: int) -> Callable[[int], Tensor]:
    return lambda N: torch.randint(1, 1000, (N, length))


@dataclass(frozen=True)
class Network:
    """How a network is made, how its inputs are, and what distributions it takes beside torch."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    distributions: tuple[str, ...] = ()


NETWORKS = {
    "paper_cnn": Network(paper_cnn, images(1, 28, 28)),
    "mlp": Network(mlp, images(784)),
    "resnet18_late": Network(resnet18_late, images(3, 64, 64), ("torchvision",)),
    "resnet18_stages": Network(resnet18_stages, images(3, 64, 64), ("torchvision",)),
    "vit_b_16": Network(vit_b_16, images(3, 64, 64), ("torchvision",)),
    "bert": Network(bert, tokens(64), ("transformers",)),
}


@dataclass
class Outcome:
    """What the methods took for one case, or why there is nothing.

    Attributes:
        seconds: By method, wall time of each run.
        problems: By method, why it was not run.
        differences: By method, how far log-probabilities of the same points differ at most between two batch sizes.
        spreads: By method, how much probabilities differ between samples: the root mean square over points and
            classes of their standard deviation.
        flops_per_point: Floating-point operations of one forward pass, for one point.
        matmul_rate: Operations a second of the fastest matrix product.
        versions: Name and version of each distribution.
        problem: Why nothing was run.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)
    flops_per_point: float = 0.0
    matmul_rate: float = 0.0
    versions: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Repeats:
    """How often to run: so many times at least, then on until so many seconds or runs are over."""

    least: int
    most: int
    seconds: float


def measure(
    network: Network,
    methods: Sequence[str],
    N: int,
    K: int,
    batch_sizes: Sequence[int],
    repeats: Repeats,
    device: torch.device,
) -> Outcome:
    """Run all methods on batches of the first size; compare them with batches of the second."""
    outcome = Outcome()
    try:
        model = network.build().to(device)
    except ImportError as error:
        return Outcome(problem=f"absent: {error}")
    points = network.inputs(N).to(device)
    outcome.flops_per_point = flops(model, points[: batch_sizes[0]]) / min(N, batch_sizes[0])
    predicts: dict[str, Predict] = {}
    for method in methods:
        try:
            predicts[method] = METHODS[method](model, K)
            compare(method, predicts[method], points[: batch_sizes[0]], batch_sizes, outcome)
        except ImportError as error:
            outcome.problems[method] = f"absent: {error}"
        except (MemoryError, RuntimeError, ValueError, TypeError) as error:
            outcome.problems[method] = reason(error)
            predicts.pop(method, None)
    peers = ["baal"] if any(method.startswith("baal") for method in predicts) else []
    outcome.versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *network.distributions, *peers))
    outcome.matmul_rate = matmul_rate(repeats, device)
    run_in_turns(predicts, points.split(batch_sizes[0]), repeats, outcome)
    return outcome


def compare(method: str, predict: Predict, points: Tensor, batch_sizes: Sequence[int], outcome: Outcome) -> None:
    """Predict the same points in batches of two sizes, with the same seed; this warms up as well."""
    log_probs = []
    for batch_size in batch_sizes:
        torch.manual_seed(0)
        log_probs.append(predict(points.split(batch_size)))
    outcome.differences[method] = (log_probs[0] - log_probs[1]).abs().max().item()
    outcome.spreads[method] = log_probs[0].exp().var(1).mean().sqrt().item()


def run_in_turns(predicts: dict[str, Predict], batches: Sequence[Tensor], repeats: Repeats, outcome: Outcome) -> None:
    """Time all methods in turns, each first as often as any other."""
    outcome.seconds = {method: [] for method in predicts}
    began, turn = time.perf_counter(), 0
    while predicts and (
        turn < repeats.least or (turn < repeats.most and time.perf_counter() - began < repeats.seconds)
    ):
        for method in predicts if turn % 2 else reversed(predicts):
            method_began = time.perf_counter()
            wait_for(predicts[method](batches))
            outcome.seconds[method].append(time.perf_counter() - method_began)
        turn += 1


def wait_for(tensor: Tensor) -> None:
    """Wait until the device that computes a tensor has done so."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def flops(network: nn.Module, batch: Tensor) -> int:
    """Count the operations of one forward pass."""
    network.eval()
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not know the fused attention layer
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)
    return int(counter.get_total_flops())


def matmul_rate(repeats: Repeats, device: torch.device) -> float:
    """Measure operations a second of float32 products of square matrices, the best of some sizes."""
    seconds = min(1.0, repeats.seconds)
    sizes = (512, 1024, 2048) if device.type == "cpu" else (2048, 4096, 8192)
    pairs = ((torch.rand(n, n, device=device), torch.rand(n, n, device=device)) for n in sizes)
    return max(product_rate(left, right, seconds) for left, right in pairs)


def reason(error: Exception) -> str:
    """Say why a method failed; baal raises an error of its own from torch's."""
    cause = error.__cause__ or error
    if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
        return "out of memory"
    return f"failed: {(str(cause).strip().splitlines() or [type(cause).__name__])[0]}"


def main() -> None:
    """Measure one case as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    for name in ("N", "K", "threads", "least-repeats", "most-repeats"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--batch-sizes", type=int, nargs=2, required=True)
    parser.add_argument("--repeat-seconds", type=float, required=True)
    parser.add_argument("--memory-gb", type=float, required=True)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments: Any = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.device.type == "cpu":  # CUDA reserves more addresses than it uses memory
        limit_memory(int(arguments.memory_gb * 1e9))
    outcome = measure(
        NETWORKS[arguments.network],
        arguments.methods,
        arguments.N,
        arguments.K,
        arguments.batch_sizes,
        Repeats(arguments.least_repeats, arguments.most_repeats, arguments.repeat_seconds),
        arguments.device,
    )
    print(json.dumps(asdict(outcome)), file=sys.stdout)


if __name__ == "__main__":
    main()
