"""What the benchmarks run on: the processor, how fast it multiplies, and processes with limits of their own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]


def processor() -> str:
    """Name the processor, and the GPU where there is one."""
    names = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([_cpu(), *names])


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def product_rate(left: torch.Tensor, right: torch.Tensor, seconds: float = 1.0) -> float:
    """Measure operations a second, the best of many products, into memory that is at hand."""
    product = torch.mm(left, right)
    flops = 2 * left.shape[0] * left.shape[1] * right.shape[1]
    best = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(left, right, out=product)
        if product.is_cuda:
            torch.cuda.synchronize(product.device)
        best = min(best, time.perf_counter() - began)
    return flops / best


def run_child(command: Sequence[str], threads: int, limit_seconds: float) -> dict[str, Any]:
    """Run a process whose last line is JSON, and return that; or the problem that came in between."""
    environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))}
    if command[0] != sys.executable:
        environment.pop("PYTHONPATH", None)
    try:
        child = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_seconds
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"over {limit_seconds:.0f} s"}
    if child.returncode != 0:
        return {"problem": f"failed: {(child.stderr.strip().splitlines() or [str(child.returncode)])[-1]}"}
    outcome: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return outcome


def limit_memory(num_bytes: int) -> None:
    """Let an allocation fail in this process rather than take the machine's memory."""
    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, num_bytes))


def resident(which: str) -> int:
    """Return the memory in bytes that this process holds (VmRSS), or held at most since the last reset (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {which}; memory can be measured on Linux only")


def version(distribution: str) -> str:
    """Return the version of a distribution, or say that it is not installed but found on the path."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(source)"
