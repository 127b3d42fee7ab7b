"""The traps of a delivery (smtp-server 5), one test each, named by their numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from smtp_gateway.delivery import Receipt
from smtp_gateway.errors import (
    ContentRefused,
    GatewayError,
    NotConfirmed,
    Throttled,
    Unavailable,
    Unreachable,
)
from smtp_gateway.ledger import State
from smtp_gateway.policy import Policy
from tests.support.api_double import Said, said
from tests.support.delivery_bench import (
    POST,
    DeliveryBench,
    api_id,
    by_recipient,
    delivery_bench,
    large_message,
    message,
    queued,
    queued_body,
)
from tests.support.fakes import until

A, B, C = "a@x.test", "b@x.test", "c@x.test"
OTHER_ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def bench() -> AsyncIterator[DeliveryBench]:
    """The usual parts with a clock that stands still."""
    async with delivery_bench() as made:
        yield made


@pytest.mark.trap(5)
async def test_trap_5_recipients_come_from_the_envelope_only(bench: DeliveryBench) -> None:
    """To, Cc and Bcc name others: only the envelope's recipient gets mail."""
    content = message("Cc: cc@x.test", "Bcc: bcc@x.test")
    await bench.deliver(A, content=content)
    assert bench.posted() == [A]
    body = bench.api.calls(POST)[0].body
    assert b"bcc@x.test" not in body
    assert b"someone@else.test" not in body


@pytest.mark.trap(6)
async def test_trap_6_every_distinct_recipient_gets_one_call(bench: DeliveryBench) -> None:
    """Three recipients are three calls; a repeated one, by domain without case, is one."""
    await bench.deliver(A, B, "a@X.Test", C, "A@x.test")
    assert sorted(bench.posted()) == sorted([A, B, C, "A@x.test"])


FAULTS = {
    **{
        str(status): said(status, {"detail": "x"})
        for status in (408, 409, 425, 429, 500, 501, 502, 503, 504, 404, 405, 406, 415, 200, 302)
    },
    "201 error": said(201, {"data": {"id": OTHER_ID, "status": "error"}}),
    "201 unreadable": said(201, b"<html>"),
    "201 without id": said(201, {"data": {"status": "queued"}}),
    "reset": Said(resets=True),
    "reset early": Said(resets_early=True),
    "half an answer": Said(201, b'{"data":{}}', cut_at=3),
}


@pytest.mark.trap(7)
@pytest.mark.parametrize("recipients", [(A,), (A, B, C)], ids=["one", "three"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_trap_7_an_outage_is_never_permanent(
    bench: DeliveryBench, fault: Said, recipients: tuple[str, ...]
) -> None:
    """Whatever fails on the API's side, the client may come again; and trap 11: never 250."""
    bench.api.on(POST, fault)
    error = await bench.deliver(*recipients)
    assert isinstance(error, GatewayError)
    assert error.fate.value in {"temporary", "ambiguous"}


@pytest.mark.trap(8)
async def test_trap_8_partial_failure_is_temporary_and_the_retry_sends_the_rest(
    bench: DeliveryBench,
) -> None:
    """Two accepted and one 503: 451; the repeat calls for the one only and gets the first id."""
    bench.api.on(POST, by_recipient({B: said(503, {"detail": "x"})}))
    first = await bench.deliver(A, B, C)
    bench.api.on(POST, queued)
    second = await bench.deliver(A, B, C)
    assert isinstance(first, Unavailable)
    assert second == Receipt("submission-1", accepted=3, refused=0)
    assert sorted(bench.posted()) == [A, B, B, C]


@pytest.mark.trap(9)
async def test_trap_9_429_in_the_middle_sends_nobody_twice(bench: DeliveryBench) -> None:
    """As trap 8 with 429."""
    bench.api.on(POST, by_recipient({B: said(429, {"detail": "x"})}))
    first = await bench.deliver(A, B, C)
    bench.api.on(POST, queued)
    bench.clock.advance(5)
    second = await bench.deliver(A, B, C)
    assert isinstance(first, Throttled)
    assert isinstance(second, Receipt)
    assert sorted(bench.posted()) == [A, B, B, C]


@pytest.mark.trap(10)
async def test_trap_10_no_blind_repeat_after_a_lost_answer(bench: DeliveryBench) -> None:
    """The API accepts and resets; the client's retry finds the mail and sends nothing."""
    bench.api.on(POST, Said(resets=True))
    first = await bench.deliver(A)
    bench.api.on(POST, queued)
    bench.lookups.log[A] = OTHER_ID
    second = await bench.deliver(A)
    assert isinstance(first, NotConfirmed)
    assert second == Receipt(OTHER_ID, accepted=1, refused=0)
    assert bench.posted() == [A]
    assert bench.lookups.searched == [(A, "<m-1@client.test>", 1_000_000.0)]


@pytest.mark.trap(11)
async def test_trap_11_refused_connections_never_give_250(bench: DeliveryBench) -> None:
    """The API is down: temporary, and the ledger stays empty."""
    await bench.api.stop()
    error = await bench.deliver(A)
    assert isinstance(error, Unreachable)
    assert len(bench.ledger) == 0


@pytest.mark.trap(12)
async def test_trap_12_words_of_the_api_are_one_line_without_addresses(
    bench: DeliveryBench,
) -> None:
    """CR, LF, addresses and tokens in ``msg`` do not reach the reply's facts or the log."""
    words = "bad\r\n550 forged victim@secret.test Bearer abc.def ck_pat_0123456789"
    bench.api.on(POST, said(400, {"detail": [{"msg": words}]}))
    error = await bench.deliver(A)
    assert isinstance(error, ContentRefused)
    assert error.facts["excerpt"] == "bad 550 forged [address] [hidden] [hidden]"
    for secret in ("victim", "abc.def", "0123456789", "\r"):
        assert secret not in bench.log.text


@pytest.mark.trap(13)
async def test_trap_13_a_hundred_messages_share_few_connections(bench: DeliveryBench) -> None:
    """Connections to the API never exceed the places in flight."""
    letters = [bench.letter(f"r{number}@x.test") for number in range(100)]
    work = [bench.delivery.deliver(letter, Policy()) for letter in letters]
    await asyncio.gather(*work)
    assert len(bench.posted()) == 100
    assert bench.api.connections <= 20


@pytest.mark.trap(14)
async def test_trap_14_a_slow_answer_within_the_deadline_is_waited_for(
    bench: DeliveryBench,
) -> None:
    """Nothing but the deadline ends the wait for the API."""
    gate = asyncio.Event()
    bench.api.on(POST, Said(201, queued_body(A), gate=gate))
    letter = bench.letter(A)
    delivery = bench.tasks.spawn(bench.delivery.deliver(letter, Policy()), name="test")
    await bench.api.arrived.wait()
    bench.clock.advance(29)
    gate.set()
    assert await delivery == Receipt(api_id(A), accepted=1, refused=0)


@pytest.mark.trap(18)
@pytest.mark.parametrize("own_id", [True, False], ids=["own Message-ID", "none"])
async def test_trap_18_reply_that_reaches_nobody_is_remembered(
    bench: DeliveryBench, *, own_id: bool
) -> None:
    """The 250 had no client left to hear it: the retry, hours later, sends nothing."""
    content = message() if own_id else message(message_id="")
    await bench.deliver(A, content=content, client_there=lambda: False)
    bench.clock.advance(3600)
    assert await bench.deliver(A, content=content) == Receipt(api_id(A), accepted=1, refused=0)
    assert bench.posted() == [A]


@pytest.mark.trap(18)
@pytest.mark.parametrize("own_id", [True, False], ids=["own Message-ID", "none"])
async def test_trap_18_client_gone_while_the_api_works(
    bench: DeliveryBench, *, own_id: bool
) -> None:
    """The call completes, the ledger has its outcome, and the retry sends nothing."""
    gate = asyncio.Event()
    bench.api.on(POST, Said(201, queued_body(A), gate=gate))
    content = message() if own_id else message(message_id="")
    letter = bench.letter(A, content=content)
    delivery = bench.tasks.spawn(bench.delivery.deliver(letter, Policy()), name="test")
    await bench.api.arrived.wait()
    delivery.cancel()
    await asyncio.wait({delivery})
    assert bench.settled == 0
    gate.set()
    await until(lambda: bench.ledger.count(State.ACCEPTED) == 1, turns=100_000)
    await until(lambda: bench.settled == 1)
    assert await bench.deliver(A, content=content) == Receipt(api_id(A), accepted=1, refused=0)
    assert bench.posted() == [A]
    assert bench.log.lines[0].fields["outcome"] == "CancelledError"
    assert bench.log.lines[1].event == "late outcome"


@pytest.mark.trap(28)
async def test_trap_28_retry_after_is_waited_for_once(bench: DeliveryBench) -> None:
    """Seconds that fit the deadline: wait so long, call again, 250."""
    bench.api.on(POST, said(429, {"detail": "x"}, retry_after="7"), queued)
    assert await bench.deliver(A) == Receipt(api_id(A), accepted=1, refused=0)
    assert bench.slept == [7.0]


@pytest.mark.trap(28)
@pytest.mark.parametrize(
    ("retry_after", "seconds", "paused"),
    [
        ("120", 120.0, 120.0),
        ("Mon, 12 Jan 1970 13:50:00 GMT", 200.0, 200.0),
        ("", 0.0, 1.0),
        ("soon", 0.0, 1.0),
        ("99999999999", 0.0, 1.0),
        ("-5", 0.0, 1.0),
    ],
)
async def test_trap_28_every_form_of_retry_after_beyond_the_deadline(
    bench: DeliveryBench, retry_after: str, seconds: float, paused: float
) -> None:
    """Seconds, a date, absent, a word, absurd, negative: 451 now, and a pause at MAIL."""
    bench.api.on(POST, said(429, {"detail": "x"}, retry_after=retry_after))
    error = await bench.deliver(A)
    assert isinstance(error, Throttled)
    assert error.facts["seconds"] == seconds
    assert bench.slots.pause_seconds("1") == paused
    with pytest.raises(Throttled):
        bench.delivery.admit(bench.login)
    bench.clock.advance(paused)
    bench.delivery.admit(bench.login)


@pytest.mark.trap(35)
async def test_trap_35_no_empty_text_and_no_repeated_fields(bench: DeliveryBench) -> None:
    """A message without a body sends a blank, never ``""``; MIME's own fields do not travel."""
    content = message("MIME-Version: 1.0", "Content-Type: text/plain", body="")
    await bench.deliver(A, content=content)
    request = json.loads(bench.api.calls(POST)[0].body)
    assert request["content"]["text"] == " "
    assert [header["name"] for header in request["additional_headers"]] == ["Message-ID"]
    assert "attachment" not in request


@pytest.mark.trap(40)
async def test_trap_40_small_mail_does_not_wait_for_a_large_one(bench: DeliveryBench) -> None:
    """Fifty small mails that come after 25 MB all have their answer before it has.

    How long the loop works on one message is the benchmark's affair: `python -m tests.bench`.
    """
    bench.api.on(POST, said(201, {"data": {"id": OTHER_ID, "status": "queued"}}))
    large = bench.tasks.spawn(bench.deliver(A, content=large_message(25_000_000)), name="large")
    small = [bench.tasks.spawn(bench.deliver(f"r{n}@x.test"), name="small") for n in range(50)]
    await asyncio.wait(small)
    assert not large.done()
    await large
    assert len(bench.posted()) == 51


@pytest.mark.trap(39)
async def test_trap_39_one_accounts_429_is_not_felt_by_another(bench: DeliveryBench) -> None:
    """While one account is paused, the other is admitted and served."""
    bench.api.on(POST, by_recipient({A: said(429, {"detail": "x"}, retry_after="600")}))
    other = type(bench.login)(key=b"other", own_account_id=2)
    assert isinstance(await bench.deliver(A), Throttled)
    bench.delivery.admit(other)
    assert isinstance(await bench.deliver(B, login=other), Receipt)
    assert isinstance(await bench.deliver(B), Throttled)
    assert bench.posted() == [A, B]


@pytest.mark.trap(39)
async def test_trap_39_one_slow_account_leaves_places_for_another(bench: DeliveryBench) -> None:
    """An account whose calls hang holds at most its share of the places."""
    gate = asyncio.Event()
    slow = {f"slow{number}@x.test": Said(201, b"{}", gate=gate) for number in range(30)}
    bench.api.on(POST, by_recipient(slow))
    stuck = [bench.tasks.spawn(bench.deliver(name), name="slow") for name in slow]
    await until(lambda: len(bench.posted()) == 15, turns=100_000)
    other = type(bench.login)(key=b"other", own_account_id=2)
    assert isinstance(await bench.deliver(A, login=other), Receipt)
    gate.set()
    await asyncio.wait(stuck)
