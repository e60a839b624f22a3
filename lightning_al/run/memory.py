"""The peak memory of the process, which decides whether a run fits on a machine."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes(part: str) -> dict[str, int]:
    """Return the peak memory of this process in bytes, under the name of the part that ends now.

    The part's name has the resident memory. If the process has used a GPU, the name with ``_cuda`` has what torch
    allocated on the current GPU. A peak never falls: a part that needs less memory than an earlier part, or than an
    earlier run in the same process, shows the earlier peak. The result is empty if the system does not tell.

    >>> peak = peak_bytes("fit")
    >>> peak["fit"] > 1_000_000
    True
    """
    resident = _peak_resident()
    peaks = {} if resident is None else {part: resident}
    torch = sys.modules.get("torch")  # a process without torch has used no GPU
    if torch is not None and torch.cuda.is_initialized():
        peaks[f"{part}_cuda"] = torch.cuda.max_memory_allocated()
    return peaks


def _peak_resident() -> int | None:
    # On Linux, the peak of `getrusage` may be that of the process which forked this one.
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
