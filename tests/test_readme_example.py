"""The demo sends what README shows: its packaged example is the page's own text."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_demo_sends_the_example_of_the_page() -> None:
    """``cakemail_sandbox/example.txt`` equals README's Python block, character by character."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    packaged = ROOT / "gateway" / "cakemail_sandbox" / "example.txt"

    assert blocks == [packaged.read_text(encoding="utf-8")]
