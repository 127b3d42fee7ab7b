"""Lines to an output that fails for a while."""

from __future__ import annotations

import errno
import io

from smtp_gateway.utils.streams import SteadyStream


class FullDisk(io.BytesIO):
    """Takes nothing while it is full."""

    full = False

    def flush(self) -> None:
        """As a buffered file does: the data that does not fit is told here."""
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_lines_pass() -> None:
    """Each as it is, at once."""
    disk = FullDisk()
    stream = SteadyStream(disk, lambda lost: b"lost %d\n" % lost)
    assert stream.write(b"one\n") == 4
    assert disk.getvalue() == b"one\n"


def test_a_full_disk_is_no_error_of_the_writer_and_is_told_afterwards() -> None:
    """What could not be written is counted, and the count stands in front of the next line."""
    disk = FullDisk()
    stream = SteadyStream(disk, lambda lost: b"lost %d\n" % lost)
    disk.full = True
    stream.write(b"one\n")
    stream.write(b"two\n")
    assert stream.failed == 2
    disk.full = False
    stream.write(b"three\n")
    assert disk.getvalue().endswith(b"lost 2\nthree\n")
    assert stream.failed == 0
