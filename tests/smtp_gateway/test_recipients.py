"""What one recipient's fate leaves in the ledger, and how many fates become one reply."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway import errors
from smtp_gateway.api.outcomes import Accepted
from smtp_gateway.api.submitter import Answer
from smtp_gateway.delivery import Receipt, combine
from smtp_gateway.errors import (
    ContentRefused,
    CredentialsRevoked,
    Fate,
    GatewayError,
    InternalError,
    NotConfirmed,
    RecipientRefused,
    RefusedUpstream,
    Throttled,
    Unavailable,
)
from smtp_gateway.ledger import State
from smtp_gateway.policy import Policy
from smtp_gateway.recipients import REFUSALS
from tests.support.api_double import said
from tests.support.delivery_bench import POST, delivery_bench

OUTCOMES = st.lists(
    st.sampled_from(
        [
            Accepted("i"),
            ContentRefused(),
            RecipientRefused(),
            Throttled(),
            Unavailable(),
            NotConfirmed(),
            InternalError(),
            CredentialsRevoked(),
        ]
    ),
    min_size=1,
    max_size=6,
)


@given(OUTCOMES)
def test_combined_reply_tells_the_truth(outcomes: list[Accepted | GatewayError]) -> None:
    """250 only when all are definite and one accepted; temporary beats permanent; order decides."""
    reply = combine(outcomes)
    failures = [one for one in outcomes if isinstance(one, GatewayError)]
    open_ones = [one for one in failures if one.fate is not Fate.PERMANENT]
    if open_ones:
        assert reply is open_ones[0]
    elif len(failures) == len(outcomes):
        assert reply is not None
        assert reply.fate is Fate.PERMANENT
    elif any(isinstance(one, CredentialsRevoked) for one in failures):
        assert isinstance(reply, CredentialsRevoked)
    else:
        assert reply is None


@pytest.mark.parametrize(
    ("outcomes", "position"),
    [
        ([ContentRefused(), RecipientRefused()], 0),
        ([RecipientRefused(), ContentRefused()], 0),
        ([Accepted("i"), ContentRefused(), NotConfirmed(), Throttled()], 2),
        ([Accepted("i"), CredentialsRevoked()], 1),
        ([ContentRefused(), CredentialsRevoked()], 1),
    ],
)
def test_which_of_several_errors_is_answered(
    outcomes: list[Accepted | GatewayError], position: int
) -> None:
    """The first in the order of RCPT within the strongest kind."""
    assert combine(outcomes) is outcomes[position]


def test_every_refusal_can_be_remembered_by_its_name() -> None:
    """A refusal that the ledger could not give back would become another reply."""
    kinds = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, RefusedUpstream) and kind is not RefusedUpstream
    }
    assert set(REFUSALS) == kinds


class BrokenSubmitter:
    """A submitter with a defect.

    Args:
        after: an answer that breaks what reads it, or None: it breaks by itself.
    """

    def __init__(self, after: Answer | None = None) -> None:
        self._after = after

    async def submit(self, *_: object, **__: object) -> Answer:
        """See ``Submitter``."""
        if self._after is None:
            raise ZeroDivisionError("joe@x.test")
        return self._after

    async def aclose(self) -> None:
        """See ``Submitter``."""


async def test_defect_in_a_call_is_temporary_logged_and_leaves_it_unknown() -> None:
    """Nobody knows whether it was sent: 451, an error in the log without its text, and unknown."""
    async with delivery_bench(submitter=BrokenSubmitter()) as bench:
        assert isinstance(await bench.deliver(), NotConfirmed)
        assert bench.ledger.count(State.UNKNOWN) == 1
        failure = bench.log.lines[0]
        assert (failure.level, failure.fields["stack"][0]) == ("error", "ZeroDivisionError")
        assert failure.fields["message"] == "submission-1"
        assert "joe" not in bench.log.text


async def test_defect_in_a_look_up_is_temporary_and_releases_the_claim() -> None:
    """Before the call nothing was sent: the retry starts from nothing."""
    async with delivery_bench() as bench:
        bench.lookups.failure = ZeroDivisionError()  # type: ignore[assignment]  # a defect
        assert isinstance(await bench.deliver(), InternalError)
        assert len(bench.ledger) == 0
        bench.lookups.failure = None
        assert isinstance(await bench.deliver(), Receipt)


async def test_forwarded_recipients_are_counted_at_the_answer_only() -> None:
    """A repeat that the ledger answers is not counted again."""
    async with delivery_bench() as bench:
        await bench.deliver("a@x.test", "b@x.test")
        await bench.deliver("a@x.test", "b@x.test")
        bench.api.on(POST, said(422, {"detail": "x"}))
        await bench.deliver("c@x.test", policy=Policy())
        assert bench.sample("smtp_emails_forwarded_total", status="success") == 2.0
        assert bench.sample("smtp_emails_forwarded_total", status="failed") == 1.0
        assert bench.sample("smtp_emails_forwarded_total", status="unknown") == 0.0
