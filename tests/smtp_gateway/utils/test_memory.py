"""Memory figures of the machine and of this process."""

from pathlib import Path

from smtp_gateway.utils.memory import PAGE_BYTES, physical_bytes, resident_bytes


def test_a_process_uses_some_but_not_all_of_the_memory() -> None:
    """Both figures are bytes, not pages and not kilobytes."""
    assert 5_000_000 < resident_bytes() < physical_bytes()


def test_the_second_figure_of_statm_is_the_resident_size(tmp_path: Path) -> None:
    """proc(5): size, resident, shared, ... in pages."""
    statm = tmp_path / "statm"
    statm.write_text("900 30 7 1 0 200 0\n", encoding="ascii")
    assert resident_bytes(statm) == 30 * PAGE_BYTES


def test_without_proc_the_highest_size_so_far_stands_in(tmp_path: Path) -> None:
    """A Mac has no /proc."""
    assert resident_bytes(tmp_path / "none") > 5_000_000
