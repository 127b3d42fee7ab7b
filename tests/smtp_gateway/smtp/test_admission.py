"""Memory: what the cgroup says, and who may hold how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway.smtp.admission import Cgroup, MemoryBudget
from smtp_gateway.telemetry import Metrics

MIB = 1 << 20


def write(path: Path, text: str) -> None:
    """A file of the fake cgroup tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def budget(total_bytes: int, usage: int | None = None) -> MemoryBudget:
    """A budget of so many bytes; ``usage`` is what the process is said to use."""
    metrics = Metrics(CollectorRegistry())
    return MemoryBudget(
        total_bytes * 4 // 3,
        resting_bytes=0,
        in_flight=metrics.bytes_in_flight,
        total=metrics.memory_budget,
        usage=lambda: usage,
    )


def test_reads_version_2(tmp_path: Path) -> None:
    """Inside a container the group is the mount's root; droppable page cache does not count."""
    write(tmp_path / "fs/memory.max", "536870912\n")
    write(tmp_path / "fs/memory.current", "300000000\n")
    write(tmp_path / "fs/memory.stat", "anon 90000000\ninactive_file 180000000\n")
    write(tmp_path / "cgroup", "0::/\n")

    group = Cgroup(tmp_path / "fs", tmp_path / "cgroup")

    assert group.limit_bytes() == 536_870_912
    assert group.usage_bytes() == 120_000_000


def test_usage_is_never_less_than_anonymous_memory(tmp_path: Path) -> None:
    """Cache figures can lag behind; anonymous memory cannot be dropped."""
    write(tmp_path / "fs/memory.max", "max\n")
    write(tmp_path / "fs/memory.current", "100\n")
    write(tmp_path / "fs/memory.stat", "anon 70\ninactive_file 60\n")
    group = Cgroup(tmp_path / "fs", tmp_path / "none")
    assert group.usage_bytes() == 70
    assert group.limit_bytes() is None


def test_takes_the_lowest_limit_on_the_way_up(tmp_path: Path) -> None:
    """A pod's limit binds a container that has none of its own."""
    write(tmp_path / "fs/pod/memory.max", "1000\n")
    write(tmp_path / "fs/pod/container/memory.max", "max\n")
    write(tmp_path / "cgroup", "0::/pod/container\n")
    assert Cgroup(tmp_path / "fs", tmp_path / "cgroup").limit_bytes() == 1000


def test_reads_version_1(tmp_path: Path) -> None:
    """The old names, and a path of the host that is not mounted here."""
    write(tmp_path / "fs/memory/memory.limit_in_bytes", "268435456\n")
    write(tmp_path / "fs/memory/memory.usage_in_bytes", "200\n")
    write(tmp_path / "fs/memory/memory.stat", "total_inactive_file 50\ntotal_rss 20\n")
    write(tmp_path / "cgroup", "9:cpu,cpuacct:/x\n7:memory:/kubepods/pod1/abc\n")

    group = Cgroup(tmp_path / "fs", tmp_path / "cgroup")

    assert group.limit_bytes() == 268_435_456
    assert group.usage_bytes() == 150


def test_version_1_writes_a_huge_number_for_no_limit(tmp_path: Path) -> None:
    """9223372036854771712 is no limit."""
    write(tmp_path / "fs/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert Cgroup(tmp_path / "fs", tmp_path / "none").limit_bytes() is None


def test_knows_nothing_without_a_cgroup(tmp_path: Path) -> None:
    """On a laptop there is no figure, and no failure."""
    group = Cgroup(tmp_path, tmp_path / "none")
    assert group.limit_bytes() is None
    assert group.usage_bytes() is None


def test_reserves_three_times_the_declared_size() -> None:
    """Raw, decoded and encoded are in memory at once."""
    memory = budget(10 * MIB)
    held = memory.reserve(MIB, None)
    assert held is not None
    assert memory.reserved_bytes == 3 * MIB
    held.release()
    assert memory.reserved_bytes == 0


def test_refuses_what_does_not_fit() -> None:
    """No room at MAIL is told at MAIL."""
    memory = budget(10 * MIB)
    assert memory.reserve(2 * MIB, None) is not None
    assert memory.reserve(2 * MIB, None) is None


def test_releases_once() -> None:
    """Edge and delivery may both release; it counts once."""
    memory = budget(10 * MIB)
    first, second = memory.reserve(MIB, b"a"), memory.reserve(MIB, b"b")
    assert first is not None
    assert second is not None
    first.release()
    first.release()
    assert memory.reserved_bytes == 3 * MIB


def test_grows_with_what_arrives() -> None:
    """Without SIZE a small reservation follows the message."""
    memory = budget(10 * MIB)
    held = memory.reserve(0, None)
    assert held is not None
    assert memory.reserved_bytes == 65_536
    assert held.holds(20_000)
    assert memory.reserved_bytes == 65_536
    assert held.holds(MIB)
    assert memory.reserved_bytes == 3 * MIB
    assert not held.holds(4 * MIB)
    assert memory.reserved_bytes == 3 * MIB


def test_a_credential_holds_a_quarter_at_most() -> None:
    """Beyond its first message; others still find room."""
    memory = budget(12 * MIB)
    assert memory.reserve(MIB, b"a") is not None
    assert memory.reserve(1, b"a") is None
    assert memory.reserve(MIB, b"b") is not None


def test_one_message_may_exceed_its_credentials_quarter() -> None:
    """Else a small budget would refuse large mail for ever."""
    memory = budget(12 * MIB)
    held = memory.reserve(2 * MIB, b"a")
    assert held is not None
    assert held.holds(3 * MIB)


def test_waiting_messages_are_asked_in_order_after_a_release() -> None:
    """Whoever came first is asked first, and those without luck stay."""
    memory = budget(10 * MIB)
    held = memory.reserve(3 * MIB, None)
    assert held is not None
    asked: list[str] = []

    def first() -> bool:
        asked.append("first")
        return False

    def second() -> bool:
        asked.append("second")
        return True

    memory.wait(first)
    memory.wait(second)
    held.release()
    assert asked == ["first", "second"]
    again = memory.reserve(1, None)
    assert again is not None
    again.release()
    assert asked == ["first", "second", "first"]
    memory.forget(first)
    memory.forget(first)


@pytest.mark.parametrize(
    ("declared", "exhausted", "stressed"), [(1, False, False), (3, False, True)]
)
def test_stress_begins_at_four_fifths(declared: int, exhausted: bool, stressed: bool) -> None:  # noqa: FBT001  # a table's columns
    """Patience before login shrinks before anything is refused."""
    memory = budget(10 * MIB)
    memory.reserve(declared * MIB, None)
    assert (memory.exhausted, memory.stressed) == (exhausted, stressed)


def test_is_exhausted_when_not_even_a_small_message_fits() -> None:
    """Then connections are refused and readiness is red."""
    memory = budget(3 * MIB)
    memory.reserve(MIB, None)
    assert memory.exhausted


def test_measured_use_near_the_limit_exhausts_too() -> None:
    """The reservations are an estimate; the kubelet evicts by what is used."""
    memory = budget(12 * MIB, usage=15 * MIB)
    before = memory.exhausted
    memory.measure()
    assert (before, memory.exhausted) == (False, True)
    assert memory.reserve(1, None) is None


def test_shows_what_is_reserved() -> None:
    """Gauges for the operator."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    memory = MemoryBudget(
        100 * MIB,
        resting_bytes=25 * MIB,
        in_flight=metrics.bytes_in_flight,
        total=metrics.memory_budget,
    )
    memory.reserve(MIB, None)
    assert registry.get_sample_value("smtp_memory_budget_bytes") == 50 * MIB
    assert registry.get_sample_value("smtp_bytes_in_flight") == 3 * MIB
