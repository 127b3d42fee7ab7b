"""Mail that others collected: read from their packages when a test runs, never copied here.

CPython's lies beside the interpreter. The two source archives are downloaded by pip once, into
pytest's cache folder; without a network their tests are skipped on a person's machine and fail in
CI (see ``tests.support.tools.missing``).
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.support.tools import missing

DOWNLOAD_SECONDS = 150


class Message(NamedTuple):
    """One stored message; CRLF line ends, as the SMTP side hands it over."""

    name: str
    content: bytes


def as_received(stored: bytes) -> bytes:
    """CR LF, lone CR and lone LF all become CRLF: SMTP has no other line end."""
    unified = stored.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return unified.replace(b"\n", b"\r\n")


def cpython() -> list[Message]:
    """The data of ``test.test_email``, which distributions may leave out."""
    spec = find_spec("test.test_email")
    if spec is None or not spec.submodule_search_locations:
        missing("CPython's own tests are not installed (Debian: apt install libpython3-testsuite)")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    return [Message(path.name, as_received(path.read_bytes())) for path in files(folder)]


def files(folder: Path) -> list[Path]:
    """The files of a folder in a fixed order."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def from_archive(requirement: str, folder: str, cache: Path) -> list[Message]:
    """Messages below ``folder`` in the source archive of ``name==version``."""
    archive = _archive(requirement, cache)
    messages = []
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda one: one.name):
            inside = Path(*Path(member.name).parts[1:])
            if member.isfile() and inside.parent == Path(folder) and inside.suffix != ".py":
                stored = tar.extractfile(member)
                assert stored is not None
                messages.append(Message(inside.name, as_received(stored.read())))
    return messages


def _archive(requirement: str, cache: Path) -> Path:
    name, _, version = requirement.partition("==")
    wanted = f"{name.replace('.', '_').replace('-', '_')}-{version}.tar.gz"
    if not (cache / wanted).exists():
        _download(requirement, cache)
    return cache / wanted


def _download(requirement: str, cache: Path) -> None:
    # Its build backend is not needed, and is installed already if it is hatchling.
    options = ["--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", str(cache)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, requirement]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        missing(f"the source archive of {requirement} cannot be downloaded")
