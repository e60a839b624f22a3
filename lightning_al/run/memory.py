"""How much memory the process has held at most, which is what decides whether a run fits on a machine."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes(part: str) -> dict[str, int]:
    """Return the most bytes that this process has held since it began, under the name of the part that ends now.

    Resident memory goes by the part's name; where the process has used a GPU, what torch allocated on the current one
    goes by that name with ``_cuda``. A peak never falls: a part that holds less than one before it shows the peak of
    that one, and a process that runs several runs one after the other shows the peak of them all. Empty where the
    system does not tell.

    >>> peak = peak_bytes("fit")
    >>> peak["fit"] > 1_000_000
    True
    """
    resident = _peak_resident()
    peaks = {} if resident is None else {part: resident}
    torch = sys.modules.get("torch")  # without it, no GPU has been used
    if torch is not None and torch.cuda.is_initialized():
        peaks[f"{part}_cuda"] = torch.cuda.max_memory_allocated()
    return peaks


def _peak_resident() -> int | None:
    # Linux's `getrusage` starts a process with the peak of the one that forked it, so that it can be another's.
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
