"""The peak of memory: that it is this process's, and rises by what is held."""

from __future__ import annotations

import subprocess
import sys

MEGABYTE = 2**20

HOLD = """
def hold(size):
    held = bytearray(size)
    held[::4096] = b"1" * len(held[::4096])  # a page that nobody has written to is not there
    return held
"""


def run(program: str) -> list[int]:
    answer = subprocess.run([sys.executable, "-c", HOLD + program], capture_output=True, text=True, check=True)
    return [int(word) for word in answer.stdout.split()]


def test_it_rises_by_what_is_held_and_does_not_fall():
    program = """
from lightning_al.run.memory import peak_bytes
first = hold(300 * 2**20)
before = peak_bytes("fit")["fit"]
second = hold(200 * 2**20)
during = peak_bytes("score")["score"]
del first, second
print(before, during, peak_bytes("select")["select"])
"""
    before, during, after = run(program)
    assert 195 * MEGABYTE < during - before < 230 * MEGABYTE
    assert abs(after - during) < MEGABYTE  # as closely as the kernel counts


def test_it_is_not_that_of_the_process_which_started_this_one():
    program = """
import subprocess, sys
child = [sys.executable, "-c", "from lightning_al.run.memory import peak_bytes; print(peak_bytes('fit')['fit'])"]
alone = int(subprocess.check_output(child))
held = hold(alone + 300 * 2**20)
print(alone, int(subprocess.check_output(child)))
"""
    alone, beside = run(program)
    assert abs(beside - alone) < 100 * MEGABYTE
