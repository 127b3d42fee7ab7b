"""How much mail fits in memory, and who may bring more: refuse early, never die.

The limit is the cgroup's (or a setting), and what counts as used is what the kubelet evicts by:
page cache that can be dropped does not count. A message is held three times on its way (received,
decoded, encoded), so ``SIZE=n`` reserves 3n before the upload; without SIZE a small reservation
grows with what arrives. Beyond one message a credential may hold a quarter of the budget, so one
slow sender never keeps all others out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Gauge

FIRST_RESERVATION_BYTES = 65_536
COPIES = 3  # raw, decoded, encoded (smtp-server 4.7; to be set anew from measurement)
GROWTH_BYTES = 262_144
BUDGET_SHARE = 0.75
PRESSURE_SHARE = 0.9
STRESS_SHARE = 0.8
CREDENTIAL_SHARE = 0.25
UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True, slots=True)
class _Layout:
    """The file names of one cgroup version."""

    folder: str
    controller: str
    limit: str
    usage: str
    inactive: str
    anonymous: str


_V2 = _Layout("", "", "memory.max", "memory.current", "inactive_file", "anon")
_V1 = _Layout(
    "memory",
    "memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    "total_rss",
)


class Cgroup:
    """The memory figures of this process's control group, version 2 or 1.

    Args:
        root: where cgroups are mounted.
        membership: ``/proc/self/cgroup``.
    """

    def __init__(
        self,
        root: Path = Path("/sys/fs/cgroup"),
        membership: Path = Path("/proc/self/cgroup"),
    ) -> None:
        self._found = next(_places(root, _membership(membership)), None)

    def limit_bytes(self) -> int | None:
        """The lowest limit of the group and those around it; None without one."""
        if self._found is None:
            return None
        layout, folders = self._found
        limits = [_number(folder / layout.limit) for folder in folders]
        known = [limit for limit in limits if limit is not None and limit < UNLIMITED_BYTES]
        return min(known, default=None)

    def usage_bytes(self) -> int | None:
        """max(usage - inactive file cache, anonymous): what eviction goes by; None if unknown."""
        if self._found is None:
            return None
        layout, folders = self._found
        usage = _number(folders[0] / layout.usage)
        if usage is None:
            return None
        stat = _stat(folders[0] / "memory.stat")
        return max(usage - stat.get(layout.inactive, 0), stat.get(layout.anonymous, 0))


def _places(root: Path, paths: dict[str, str]) -> Iterator[tuple[_Layout, list[Path]]]:
    """For each version that is mounted: the group's folder and its ancestors, innermost first."""
    for layout in (_V2, _V1):
        top = root / layout.folder
        own = top / paths.get(layout.controller, "/").lstrip("/")
        # Inside a container the path may be the host's, which is not mounted here.
        folders = [own, *own.parents][: len(own.parts) - len(top.parts) + 1]
        present = [folder for folder in folders if (folder / layout.limit).is_file()]
        if present:
            yield layout, present


def _membership(path: Path) -> dict[str, str]:
    """Controller name ("" for version 2) to path, from lines ``id:controllers:path``."""
    found: dict[str, str] = {}
    for line in _text(path).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if ".." not in place.split("/"):
            found.update(dict.fromkeys(controllers.split(","), place))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _stat(path: Path) -> dict[str, int]:
    words = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004  # a name and its figure


class Reservation:
    """Room that one message holds until ``release``."""

    def __init__(self, budget: MemoryBudget, key: bytes | None, size: int) -> None:
        self._budget = budget
        self._key = key
        self.size = size
        self._open = True

    def holds(self, received_bytes: int) -> bool:
        """Whether a message of this many octets fits, growing the reservation if there is room."""
        needed = received_bytes * COPIES
        if needed <= self.size:
            return True
        # In steps, so that not every chunk asks; the exact need where a step no longer fits.
        return self._grow(max(needed, self.size + GROWTH_BYTES)) or self._grow(needed)

    def _grow(self, size: int) -> bool:
        more = size - self.size
        if not self._open or not self._budget._take(self._key, more, self.size):  # noqa: SLF001  # one mechanism in two classes
            return False
        self.size = size
        return True

    def release(self) -> None:
        """Give all back; again is harmless."""
        if self._open:
            self._open = False
            self._budget._give(self._key, self.size)  # noqa: SLF001  # see above


class MemoryBudget:
    """Bytes that messages may hold together.

    Args:
        limit_bytes: what the process may use at all.
        resting_bytes: what it uses without any mail.
        usage: measures what it uses now; None where that is unknown.
        in_flight: gauge of the bytes reserved.
        total: gauge of the budget.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        resting_bytes: int,
        in_flight: Gauge,
        total: Gauge,
        usage: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.total_bytes = max(0, int(limit_bytes * BUDGET_SHARE) - resting_bytes)
        self.reserved_bytes = 0
        self._credential_bytes = int(self.total_bytes * CREDENTIAL_SHARE)
        self._limit_bytes = limit_bytes
        self._usage = usage
        self._in_flight = in_flight
        self._by_key: dict[bytes, int] = {}
        self._waiting: deque[Callable[[], bool]] = deque()
        self._pressed = False
        total.set(self.total_bytes)

    @property
    def largest_message_bytes(self) -> int:
        """Of the message that has all the room to itself."""
        return self.total_bytes // COPIES

    @property
    def exhausted(self) -> bool:
        """No message can be taken now: refuse connections, turn readiness red."""
        return self._pressed or self.total_bytes - self.reserved_bytes < FIRST_RESERVATION_BYTES

    @property
    def stressed(self) -> bool:
        """Over 80 % is taken: clients that have not logged in get less patience."""
        return self._pressed or self.reserved_bytes > self.total_bytes * STRESS_SHARE

    def measure(self) -> None:
        """Read the process's use; called about once a second, never per message."""
        usage = self._usage()
        self._pressed = usage is not None and usage >= self._limit_bytes * PRESSURE_SHARE

    def reserve(self, declared_bytes: int, key: bytes | None) -> Reservation | None:
        """Room for a message of ``declared_bytes`` (0: not declared); None when there is none.

        ``key`` is the credential that holds it; None counts for nobody.
        """
        size = declared_bytes * COPIES or FIRST_RESERVATION_BYTES
        if self._pressed or not self._take(key, size):
            return None
        return Reservation(self, key, size)

    def wait(self, retry: Callable[[], bool]) -> None:
        """Call ``retry`` after a release, in order of arrival, until it returns true."""
        self._waiting.append(retry)

    def forget(self, retry: Callable[[], bool]) -> None:
        """No longer call ``retry``; an unknown one is no fault."""
        if retry in self._waiting:
            self._waiting.remove(retry)

    def _take(self, key: bytes | None, size: int, own: int = 0) -> bool:
        """Take ``size`` more for a message that holds ``own`` already."""
        if self.reserved_bytes + size > self.total_bytes:
            return False
        if key is not None:
            held = self._by_key.get(key, 0)
            # The first message is never too large for its credential, only for the budget.
            if held > own and held + size > self._credential_bytes:
                return False
            self._by_key[key] = held + size
        self._note(size)
        return True

    def _give(self, key: bytes | None, size: int) -> None:
        if key is not None:
            left = self._by_key[key] - size
            if left:
                self._by_key[key] = left
            else:
                del self._by_key[key]
        self._note(-size)
        for retry in list(self._waiting):  # each is asked: one credential's cap bars no other's
            if retry():
                self.forget(retry)

    def _note(self, change: int) -> None:
        self.reserved_bytes += change
        self._in_flight.set(self.reserved_bytes)
