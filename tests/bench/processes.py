"""Programs under measurement: pinned to a core, their CPU and memory read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def pinned(command: list[str], core: int) -> list[str]:
    """The command, run on one core; as it is on a machine with a single one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return command
    return ["taskset", "--cpu-list", str(cores[core % len(cores)]), *command]


@dataclass(frozen=True, slots=True)
class Use:
    """What a process and its children used.

    Attributes:
        cpu_seconds: user and system time since the start.
        peak_bytes: sum of each process's highest resident size.
    """

    cpu_seconds: float
    peak_bytes: int


def use(pid: int) -> Use:
    """What the process and all its living descendants used so far."""
    family = [pid, *_descendants(pid)]
    return Use(sum(map(_cpu, family)), sum(map(_peak, family)))


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield int(child)
            yield from _descendants(int(child))


def _cpu(pid: int) -> float:
    # The name in brackets may hold blanks; fields are counted behind it (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # a process that has just ended has no memory
