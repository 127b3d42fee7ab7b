"""docs/replies.md says what every reply means; neither the page nor the tables run ahead."""

from __future__ import annotations

import re
from pathlib import Path

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.replies import REPLIES, Reply

PAGE = Path(__file__).parents[3] / "docs" / "replies.md"
ROW = re.compile(r"\| `(?P<reply>[0-9]{3} .*?)` \| (?P<meaning>[^|]+) \| (?P<action>[^|]+) \|")
# Made by the handler from a receipt, not from a row.
NO_ROW = "250 Ok <id>"


def as_written(reply: Reply) -> str:
    """The line as the page shows it: what varies in angle brackets."""
    text = reply.text.replace("{retry}", ", retry in <s> s")
    words = [str(reply.code), reply.enhanced, re.sub(r"\{(\w+)\}", r"<\1>", text)]
    return " ".join(word for word in words if word)


def on_the_page() -> list[str]:
    """The first cell of every row of every table."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [ROW.fullmatch(line) for line in lines if line.startswith("| `")]
    return [row["reply"] if row else "a row in another form" for row in rows]


def test_the_page_explains_every_reply_once_and_no_other() -> None:
    """Each row of both tables appears, with a meaning and something to do."""
    spoken = [reply for reply in vars(replies).values() if isinstance(reply, Reply)]
    in_code = {as_written(reply) for reply in [*spoken, *REPLIES.values()]}
    assert len(in_code) > 80
    assert sorted(on_the_page()) == sorted(in_code | {NO_ROW})
