"""Third-party mail: each message is carried whole or refused with a named reason.

Judges are the standard library's two readers: ``compat32`` for the structure, ``policy.default``
for what a part says. A refusal is always one that an SMTP client gets as 5xx.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smtp_gateway.email.message import Submission
from smtp_gateway.email.parser import Part, read_fields, read_tree
from smtp_gateway.email.transformer import transform
from smtp_gateway.errors import Fate, MessageError
from smtp_gateway.policy import Policy
from tests.support import corpora, judge

pytestmark = pytest.mark.timeout(200)  # the first run downloads two archives

MAX_SECONDS = 1.0
# An inner multipart has the boundary of the outer one; compat32 takes the rest for an epilogue.
EQUAL_BOUNDARIES = {"msg_15.txt", "msg_39.txt", "mail_malformed_1"}
Corpus = Callable[[Path], list[corpora.Message]]
CORPORA: dict[str, tuple[Corpus, int]] = {
    "cpython": (lambda _cache: corpora.cpython(), 60),
    "flufl.bounce": (
        lambda cache: corpora.from_archive("flufl.bounce==6.0.0", "tests/data", cache),
        110,
    ),
    "mail-parser": (
        lambda cache: corpora.from_archive("mail-parser==4.8.0", "tests/mails", cache),
        20,
    ),
}


@pytest.fixture(params=CORPORA)
def corpus(request: pytest.FixtureRequest) -> list[corpora.Message]:
    """All messages of one collection."""
    read, at_least = CORPORA[request.param]
    cache: Any = request.config.cache
    messages = read(Path(cache.mkdir("corpora")))
    assert len(messages) >= at_least
    return messages


def test_every_message_is_carried_whole_or_refused_by_name(corpus: list[corpora.Message]) -> None:
    """What the judge finds in a message is submitted or noted; a refusal is a 5xx with facts."""
    faults = [fault for message in corpus for fault in judged(message.name, message.content)]
    assert faults == []


def test_every_body_of_the_corpus_is_read_whatever_its_header(
    corpus: list[corpora.Message],
) -> None:
    """With a good From in place of its own header section, more of each collection is carried."""
    faults = [
        fault
        for message in corpus
        for fault in judged(message.name, with_good_header(message.content))
    ]
    assert faults == []


def test_the_structure_is_the_one_that_compat32_finds(corpus: list[corpora.Message]) -> None:
    """The same leaves, in the same order, octet for octet."""
    differing = [
        one.name
        for one in corpus
        if one.name not in EQUAL_BOUNDARIES and leaves(one.content) != expected_leaves(one.content)
    ]
    assert differing == []


def test_parts_behind_an_inner_end_with_the_outer_boundary_are_found(
    corpus: list[corpora.Message],
) -> None:
    """Where compat32 loses parts, all of its leaves are among ours, and ours are more."""
    for one in corpus:
        if one.name in EQUAL_BOUNDARIES:
            ours, theirs = leaves(one.content), expected_leaves(one.content)
            assert len(ours) > len(theirs)
            assert [leaf for leaf in theirs if leaf not in ours] == []


def judged(name: str, content: bytes) -> Iterator[str]:
    """What is wrong with how a message was handled."""
    begin = time.process_time()
    result = outcome(content)
    if time.process_time() - begin > MAX_SECONDS:
        yield f"{name}: took too long"
    if isinstance(result, MessageError):
        if result.fate is not Fate.PERMANENT:
            yield f"{name}: {type(result).__name__} is no permanent refusal"
    else:
        yield from (f"{name}: {lost}" for lost in judge.differences(content, result))


def outcome(content: bytes) -> Submission | MessageError:
    """The submission, or the refusal; nothing else may come out."""
    try:
        return transform(content, Policy(), digest=hashlib.sha256(content).digest())
    except MessageError as refusal:
        return refusal


def with_good_header(content: bytes) -> bytes:
    """The same body and content type below a header section that is in order."""
    fields, body = read_fields(content, 0, len(content))
    kept = [f"{one.name}: {one.value}" for one in fields if one.key.startswith("content-")]
    lines = ["From: shop@sender.test", "Message-ID: <m@sender.test>", *kept, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content[body:]


def leaves(content: bytes) -> list[judge.Leaf] | str:
    """Our leaves in order, or the name of the refusal."""
    fields, body = read_fields(content, 0, len(content))
    try:
        return list(_leaves(read_tree(content, fields, body)))
    except MessageError as refusal:
        return type(refusal).__name__


def _leaves(part: Part) -> Iterator[judge.Leaf]:
    if part.media.type.startswith("message/"):
        yield judge.Leaf(part.media.type, b"")
    elif not part.is_multipart:
        yield judge.Leaf(part.media.type, part.body())
    for child in part.children:
        yield from _leaves(child)


def expected_leaves(content: bytes) -> list[judge.Leaf] | str:
    """The judge's leaves; a multipart that it could not divide is one that we refuse."""
    found = judge.structure(content)
    undivided = [one for one in found if one.type.startswith("multipart/") and one.body.strip()]
    if undivided:
        return "MessageUnreadable"
    return [one for one in found if not one.type.startswith("multipart/")]
