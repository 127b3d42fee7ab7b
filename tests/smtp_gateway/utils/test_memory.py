"""Memory figures of the machine and of this process."""

import subprocess
import sys
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


def test_the_collector_passes_over_what_was_there_at_the_start() -> None:
    """In a process of its own, as this setting is the whole process's."""
    program = (
        "import gc; from smtp_gateway.utils.memory import spare_collector; spare_collector();"
        "print(gc.get_freeze_count() > 1_000, gc.get_threshold(), gc.isenabled())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout.decode("ascii").strip() == "True (10000, 10, 10) True"
