"""README explains every reply that a person may see, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.replies import REPLIES, Reply

README = Path(__file__).parents[1] / "README.md"


def refusals() -> set[tuple[str, str]]:
    """Code and enhanced code of every refusal in ``smtp/replies.py``."""
    constants = [each for each in vars(replies).values() if isinstance(each, Reply)]
    return {
        (str(each.code), each.enhanced)
        for each in [*constants, *REPLIES.values()]
        if each.code >= 400
    }


def explained() -> set[tuple[str, str]]:
    """The same of the table's first column; an enhanced code of "" stands for all of that code."""
    section = README.read_text(encoding="utf-8").partition("## What a reply means")[2]
    table = section.partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    found = re.findall(r"`(\d{3})(?: (\d\.\d+\.\d+))?", " ".join(cells))
    return {(code, enhanced) for code, enhanced in found if code >= "400"}


def test_every_refusal_is_explained() -> None:
    """Whatever code a person is shown, README has a row for it."""
    rows = explained()
    missing = {each for each in refusals() if each not in rows and (each[0], "") not in rows}

    assert missing == set()


def test_no_row_explains_a_reply_that_is_never_given() -> None:
    """A row whose code left the tables is a leftover."""
    given = refusals()
    codes = {code for code, _ in given}
    stale = {
        (code, enhanced)
        for code, enhanced in explained()
        if (code not in codes if not enhanced else (code, enhanced) not in given)
    }

    assert stale == set()
