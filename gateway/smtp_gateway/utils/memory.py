"""How much memory there is, and how much this process uses."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

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
