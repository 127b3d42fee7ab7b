"""Programs from outside PyPI: a missing one skips a test at home and fails it in CI.

``.ci/tools.txt`` is the one list of them; the hint that a skipped test prints comes from there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".ci" / "tools.txt"


def debian_packages(probe: str) -> str:
    """The Debian packages that bring ``probe``, as ``.ci/tools.txt`` lists them."""
    for line in TOOLS.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0] == probe:
            return " ".join(words[1:])
    raise LookupError(f"{probe} is not listed in {TOOLS.relative_to(ROOT)}")


def tool(probe: str) -> str:
    """Path of a program, or of a file when ``probe`` begins with a slash.

    Ends the test when it is missing: skipped on a person's machine, failed where CI is set.
    """
    packages = debian_packages(probe)
    found = probe if probe.startswith("/") and Path(probe).exists() else shutil.which(probe)
    if found is None:
        missing(f"{probe} is not installed (Debian: apt install {packages})")
    return found


def missing(reason: str) -> NoReturn:
    """End the test because the machine lacks something that the test needs."""
    if os.environ.get("CI"):  # noqa: TID251  # about the machine the tests run on, not a setting
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
