"""How much memory there is, and how much this process uses."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path

YOUNG_OBJECTS = 10_000
"""New objects until the collector looks at them. A mail leaves no cycle behind, so each look finds
nothing; cycles of exceptions and of libraries are rare, and found all the same."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def physical_bytes() -> int:
    """Memory of the machine."""
    return PAGE_BYTES * os.sysconf("SC_PHYS_PAGES")


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Resident size of this process; where the system tells no such figure, its highest so far."""
    try:
        return int(statm.read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes there


def spare_collector() -> None:
    """Take what exists now out of the cycle collector's sight; to be called once, after the start.

    Modules, classes and metrics stay until the end, some 90,000 objects. Looking through them again
    and again took an eighth of the CPU of a mail, and each full look held the loop for 80-160 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
