"""Commands that a page tells its readers to type, and what it says they will then see.

A block of the language ``sh`` holds commands, one a line. A block ``console`` shows a dialogue: a
command stands after ``$ ``, its output in the lines below. In such an output ``...`` stands for any
words, or, alone in a line, for any lines; an age is whatever it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_AGE = re.compile(r"(?:\d+[dhms])+")
_ANY = "..."


class Block(NamedTuple):
    """What stands between two fences."""

    language: str
    text: str


class Step(NamedTuple):
    """A command, and what a reader is shown of its output; nothing is shown after most."""

    command: str
    shown: tuple[str, ...]


def section(page: str, title: str) -> str:
    """What stands under a heading of the second level, up to the next one.

    Raises:
        LookupError: there is no such heading.
    """
    content = (ROOT / page).read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)\n", content, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found[title]


def fences(text: str) -> list[Block]:
    """All fenced blocks, in order."""
    return [Block(*found) for found in _FENCE.findall(text)]


def steps(text: str) -> list[Step]:
    """All commands, in the order in which a reader types them."""
    found: list[Step] = []
    for language, body in fences(text):
        if language == "sh":
            found += [Step(line, ()) for line in body.replace("\\\n", "").splitlines()]
        elif language == "console":
            found += _dialogue(body)
    return found


def _dialogue(body: str) -> list[Step]:
    turns = body.removeprefix("$ ").split("\n$ ")
    lines = [turn.replace("\\\n", "").splitlines() for turn in turns]
    return [Step(first, tuple(rest)) for first, *rest in lines]


def as_shown(shown: tuple[str, ...], output: str) -> bool:
    """Whether an output is what the page shows; how wide columns are does not matter."""
    pattern = "".join(_line(line) for line in shown)
    lines = "".join(f"{' '.join(line.split())} \n" for line in output.splitlines())
    return re.fullmatch(pattern, lines) is not None


def _line(shown: str) -> str:
    if shown.strip() == _ANY:
        return r"(?:.*\n)*"
    return "".join(map(_word, shown.split())) + r"\n"


def _word(word: str) -> str:
    if word == _ANY:
        return r"(?:\S+ )*"
    return f"{_AGE.pattern} " if _AGE.fullmatch(word) else re.escape(word) + " "
