"""Delivery over real sockets: what the client is told, and what the API got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from smtp_gateway.delivery import Receipt
from smtp_gateway.errors import (
    CredentialsRevoked,
    HeaderInvalid,
    LookupUnavailable,
    NotConfirmed,
    NotPermitted,
    RecipientRefused,
    SenderNotVerified,
    SenderRefused,
    SubmissionForbidden,
    Throttled,
    Unavailable,
)
from smtp_gateway.ledger import State
from smtp_gateway.policy import EmailType, Policy, Tracking
from tests.support.api_double import Said, said
from tests.support.delivery_bench import (
    POST,
    DeliveryBench,
    api_id,
    by_recipient,
    delivery_bench,
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


async def test_one_recipient_gets_the_id_of_the_api(bench: DeliveryBench) -> None:
    """One call, the API's UUID in the receipt, and the whole request as documented."""
    receipt = await bench.deliver(A)
    assert receipt == Receipt(api_id(A), accepted=1, refused=0)
    (call,) = bench.api.calls(POST)
    assert call.bearer == "bearer-0"
    assert json.loads(call.body) == {
        "email": "a@x.test",
        "sender": {"id": "sender-1", "name": "Shop"},
        "list_id": 7,
        "content": {
            "subject": "Order 17",
            "type": "transactional",
            "text": "Hello\n",
            "encoding": "utf-8",
        },
        "tracking": {"opens": False, "clicks_html": False, "clicks_text": False},
        "additional_headers": [{"name": "Message-ID", "value": "<m-1@client.test>"}],
    }


async def test_several_recipients_get_the_id_of_the_submission(bench: DeliveryBench) -> None:
    """One id for the client; the API's stand in the log."""
    receipt = await bench.deliver(A, B)
    assert receipt == Receipt("submission-1", accepted=2, refused=0)
    line = bench.log.lines[-1]
    assert line.event == "message"
    assert line.fields["api_ids"] == [api_id(A), api_id(B)]


async def test_repeat_waits_for_the_call_that_still_runs(bench: DeliveryBench) -> None:
    """A client with a short patience comes back while its first call runs: one mail, one id."""
    gate = asyncio.Event()
    bench.api.on(POST, Said(201, queued_body(A), gate=gate))
    first = bench.tasks.spawn(bench.deliver(A), name="first")
    await bench.api.arrived.wait()
    second = bench.tasks.spawn(bench.deliver(A), name="second")
    await until(lambda: bench.sample("smtp_ledger_hits_total", kind="in_flight") == 1.0)
    gate.set()
    assert await first == await second == Receipt(api_id(A), accepted=1, refused=0)
    assert bench.posted() == [A]


async def test_first_temporary_in_the_order_of_rcpt_decides(bench: DeliveryBench) -> None:
    """Accepted, refused, throttled, unconfirmed: the reply is the throttled one's."""
    answers = {
        B: said(422, {"detail": [{"loc": ["body", "email"], "msg": "x"}]}),
        C: said(429, {"detail": "x"}),
        "d@x.test": said(500, {"detail": "x"}),
    }
    bench.api.on(POST, by_recipient(answers))
    assert isinstance(await bench.deliver(A, B, C, "d@x.test"), Throttled)


async def test_some_refused_for_good_is_still_250(bench: DeliveryBench) -> None:
    """The refusal is counted and logged, without an address."""
    bench.api.on(
        POST, by_recipient({B: said(422, {"detail": [{"loc": ["body", "email"], "msg": "no"}]})})
    )
    assert await bench.deliver(A, B) == Receipt("submission-1", accepted=1, refused=1)
    assert bench.sample("smtp_emails_forwarded_total", status="failed") == 1.0
    refusal = bench.log.lines[0]
    assert (refusal.event, refusal.fields["kind"]) == ("recipient refused", "RecipientRefused")
    assert "x.test" not in bench.log.text


async def test_all_refused_gives_the_first_refusal_and_keeps_nothing(
    bench: DeliveryBench,
) -> None:
    """The first in the order of RCPT; a corrected world gets a new try at once."""
    bench.api.on(
        POST,
        by_recipient(
            {
                A: said(422, {"detail": [{"loc": ["body", "email"], "msg": "no"}]}),
                B: said(403, {"detail": "x"}),
            }
        ),
    )
    assert isinstance(await bench.deliver(A, B), RecipientRefused)
    assert len(bench.ledger) == 0


async def test_refused_recipient_is_not_called_again_on_a_retry(bench: DeliveryBench) -> None:
    """Refused for good beside a temporary rest: the repeat calls for the rest only."""
    no = said(422, {"detail": [{"loc": ["body", "email"], "msg": "no"}]})
    bench.api.on(POST, by_recipient({A: no, B: said(503, {"detail": "x"})}))
    assert isinstance(await bench.deliver(A, B), Unavailable)
    bench.api.on(POST, queued)
    assert await bench.deliver(A, B) == Receipt("submission-2", accepted=1, refused=1)
    assert sorted(bench.posted()) == [A, B, B]


async def test_lost_250_is_answered_again_with_the_same_id(bench: DeliveryBench) -> None:
    """Within 15 minutes a message with its own Message-ID is recognised, API down or not."""
    first = await bench.deliver(A, B)
    bench.lookups.failure = LookupUnavailable("down")
    bench.clock.advance(899)
    assert await bench.deliver(A, B) == first == Receipt("submission-1", accepted=2, refused=0)
    bench.lookups.failure = None
    bench.clock.advance(2)
    assert await bench.deliver(A, B) == Receipt("submission-3", accepted=2, refused=0)


async def test_two_equal_messages_without_message_id_are_two_mails(bench: DeliveryBench) -> None:
    """An alert that fires twice is sent twice."""
    content = message(message_id="")
    await bench.deliver(A, content=content)
    await bench.deliver(A, content=content)
    assert bench.posted() == [A, A]


async def test_idempotency_key_stands_for_the_content_for_a_day(bench: DeliveryBench) -> None:
    """The same key with another content is the same mail; after 24 hours it is a new one."""
    one = message("Idempotency-Key: k-1", message_id="", body="one")
    two = message("Idempotency-Key: k-1", message_id="", body="two")
    first = await bench.deliver(A, content=one)
    bench.clock.advance(86_399)
    assert await bench.deliver(A, content=two) == first
    bench.clock.advance(2)
    await bench.deliver(A, content=two)
    assert bench.posted() == [A, A]


async def test_other_recipient_sender_or_account_is_another_mail(bench: DeliveryBench) -> None:
    """The ledger's key holds account, reverse path and recipient beside the content."""
    await bench.deliver(A)
    await bench.deliver(B)
    await bench.deliver(A, mail_from="")
    await bench.deliver(A, login=type(bench.login)(key=b"o", own_account_id=2))
    assert bench.posted() == [A, B, A, A]


async def test_unconfirmed_attempt_is_not_repeated_within_the_grace(bench: DeliveryBench) -> None:
    """Not in the log after 60 s: still 451. A second later: sent."""
    bench.api.on(POST, said(502, b""), queued)
    assert isinstance(await bench.deliver(A), NotConfirmed)
    bench.clock.advance(60)
    assert isinstance(await bench.deliver(A), NotConfirmed)
    assert bench.posted() == [A]
    bench.clock.advance(1)
    assert isinstance(await bench.deliver(A), Receipt)
    assert bench.posted() == [A, A]


async def test_unreadable_log_keeps_the_answer_temporary(bench: DeliveryBench) -> None:
    """A credential that may not read the log: 451 until the client gives up."""
    bench.api.on(POST, said(502, b""), queued)
    bench.lookups.log[A] = NotPermitted("no")
    await bench.deliver(A)
    bench.clock.advance(86_400)
    assert isinstance(await bench.deliver(A), NotConfirmed)
    assert bench.posted() == [A]


@pytest.mark.setting("cakemail_allow_second_sending")
async def test_operator_may_allow_a_second_sending(bench: DeliveryBench) -> None:
    """With the permission it is sent again, after the grace."""
    bench.api.on(POST, said(502, b""), queued)
    bench.lookups.log[A] = NotPermitted("no")
    policy = Policy(allow_second_sending=True)
    await bench.deliver(A, policy=policy)
    assert isinstance(await bench.deliver(A, policy=policy), NotConfirmed)
    bench.clock.advance(61)
    assert isinstance(await bench.deliver(A, policy=policy), Receipt)


async def test_failing_search_is_not_taken_for_not_found(bench: DeliveryBench) -> None:
    """The log is down: 451, and the entry stays unknown."""
    bench.api.on(POST, said(502, b""), queued)
    await bench.deliver(A)
    bench.clock.advance(600)
    bench.lookups.log[A] = LookupUnavailable("down")
    assert isinstance(
        await bench.deliver(A, policy=Policy(allow_second_sending=True)), NotConfirmed
    )
    assert bench.ledger.count(State.UNKNOWN) == 1


async def test_second_unconfirmed_attempt_is_searched_around_both(bench: DeliveryBench) -> None:
    """Two attempts, two times to look at; a failure before sending leaves them as they were."""
    bench.api.on(POST, said(502, b""))
    await bench.deliver(A)
    bench.clock.advance(100)
    await bench.deliver(A)
    bench.clock.advance(100)
    bench.api.on(POST, said(503, b""))
    assert isinstance(await bench.deliver(A), Unavailable)
    assert bench.ledger.count(State.UNKNOWN) == 1
    since = [one[2] for one in bench.lookups.searched]
    assert since == [1_000_000.0, 1_000_000.0, 1_000_100.0]


async def test_expired_token_is_renewed_and_the_call_repeated_once(bench: DeliveryBench) -> None:
    """401, a new bearer, 201."""
    bench.api.on(POST, said(401, {"detail": "x"}), queued)
    assert isinstance(await bench.deliver(A), Receipt)
    assert [call.bearer for call in bench.api.calls(POST)] == ["bearer-0", "bearer-1"]


async def test_401_again_ends_the_credential(bench: DeliveryBench) -> None:
    """The login is forgotten and the client told so."""
    bench.api.on(POST, said(401, {"detail": "x"}))
    assert isinstance(await bench.deliver(A), CredentialsRevoked)
    assert bench.login.forgotten == 1
    assert bench.posted() == [A, A]
    assert len(bench.ledger) == 0


async def test_revoked_login_speaks_for_the_whole_message(bench: DeliveryBench) -> None:
    """One was accepted, then the login ended: no 250, and a retry sends the rest only."""
    bench.api.on(POST, by_recipient({B: said(401, {"detail": "x"})}))
    assert isinstance(await bench.deliver(A, B), CredentialsRevoked)
    bench.api.on(POST, queued)
    assert isinstance(await bench.deliver(A, B), Receipt)
    assert bench.posted().count(A) == 1


async def test_html_alone_is_tried_and_remembered_for_the_account(bench: DeliveryBench) -> None:
    """D5: the API wants one body; the second message sends html alone at once."""
    both = message(
        "MIME-Version: 1.0",
        'Content-Type: multipart/alternative; boundary="b"',
        body="--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b\r\n"
        "Content-Type: text/html\r\n\r\n<p>html</p>\r\n--b--",
    )
    refusal = {"detail": [{"loc": ["body", "content"], "msg": "Only one of html or text"}]}
    bench.api.on(POST, said(422, refusal), queued)
    assert isinstance(await bench.deliver(A, content=both), Receipt)
    assert isinstance(await bench.deliver(B, content=both), Receipt)
    contents = [json.loads(call.body)["content"] for call in bench.api.calls(POST)]
    assert [sorted(content) for content in contents] == [
        ["encoding", "html", "subject", "text", "type"],
        ["encoding", "html", "subject", "type"],
        ["encoding", "html", "subject", "type"],
    ]


async def test_sender_refused_drops_the_sender(bench: DeliveryBench) -> None:
    """422 about ``sender`` and a 400 that speaks of it: the look-up is dropped."""
    bench.api.on(POST, said(422, {"detail": [{"loc": ["body", "sender", "id"], "msg": "x"}]}))
    assert isinstance(await bench.deliver(A), SenderRefused)
    bench.api.on(POST, said(400, {"detail": [{"msg": "Sender is not confirmed"}]}))
    assert isinstance(await bench.deliver(B), SubmissionForbidden)
    assert bench.lookups.forgotten == ["sender-1", "sender-1"]


async def test_local_fault_refuses_before_any_call(bench: DeliveryBench) -> None:
    """A message that cannot be carried, and a From that is no sender: nothing is sent."""
    assert isinstance(await bench.deliver(A, content=message("X-List-Id: x")), HeaderInvalid)
    bench.lookups.failure = SenderNotVerified(address="shop@example.test")
    assert isinstance(await bench.deliver(A, B), SenderNotVerified)
    assert bench.posted() == []
    assert len(bench.ledger) == 0
    assert bench.settled == 2


async def test_marketing_without_a_list_is_refused(bench: DeliveryBench) -> None:
    """D4: without a list transactional mail goes, marketing mail does not."""
    bench.lookups.list_id = None
    error = await bench.deliver(A, policy=Policy(email_type=EmailType.MARKETING))
    assert isinstance(error, HeaderInvalid)
    assert isinstance(await bench.deliver(A), Receipt)
    assert "list_id" not in json.loads(bench.api.calls(POST)[0].body)


async def test_steering_of_the_message_reaches_the_request(bench: DeliveryBench) -> None:
    """Sender, list, account, type, tags and tracking named by the message and the policy."""
    content = message(
        "X-Sender-Id: s-9",
        "X-List-Id: 12",
        "X-Account-Id: 33",
        "X-Email-API-Type: Marketing",
        "X-Tags: one, two",
    )
    policy = Policy(tracking=Tracking(opens=True), tags=("ours",))
    await bench.deliver(A, content=content, policy=policy)
    (call,) = bench.api.calls(POST)
    request = json.loads(call.body)
    assert call.query == {"account_id": "33"}
    assert request["sender"]["id"] == "s-9"
    assert request["list_id"] == 12
    assert request["content"]["type"] == "marketing"
    assert request["tags"] == ["one", "two", "ours"]
    assert request["tracking"] == {"opens": True, "clicks_html": False, "clicks_text": False}


async def test_deadline_with_a_call_under_way_is_ambiguous_and_settles_late(
    bench: DeliveryBench,
) -> None:
    """451 4.4.2 at the deadline; the answer comes later and the retry finds it."""
    gate = asyncio.Event()
    bench.api.on(POST, Said(201, queued_body(A), gate=gate))
    letter = bench.letter(A, received_monotonic=bench.clock.now - 49.9)
    with pytest.raises(NotConfirmed):
        await bench.delivery.deliver(letter, Policy())
    gate.set()
    await until(lambda: bench.settled == 1, turns=100_000)
    assert isinstance(await bench.deliver(A), Receipt)
    assert bench.posted() == [A]


async def test_deadline_while_an_earlier_try_is_under_way_is_ambiguous(
    bench: DeliveryBench,
) -> None:
    """The repeat waits in vain: 451 4.4.2, as the mail may be there."""
    gate = asyncio.Event()
    bench.api.on(POST, Said(201, queued_body(A), gate=gate))
    first = bench.tasks.spawn(bench.deliver(A), name="first")
    await bench.api.arrived.wait()
    error = await bench.deliver(A, received_monotonic=bench.clock.now - 49.95)
    assert isinstance(error, NotConfirmed)
    gate.set()
    assert isinstance(await first, Receipt)
    assert bench.posted() == [A]


async def test_deadline_before_any_call_is_temporary(bench: DeliveryBench) -> None:
    """451 4.3.2 when nothing was begun; nothing is sent later either."""
    error = await bench.deliver(A, B, received_monotonic=bench.clock.now - 50)
    assert isinstance(error, Unavailable)
    await until(lambda: bench.settled == 1)
    assert bench.posted() == []
    assert len(bench.ledger) == 0


async def test_calls_of_one_message_are_bounded(bench: DeliveryBench) -> None:
    """Ten at a time, however many recipients."""
    gate = asyncio.Event()
    names = [f"r{number}@x.test" for number in range(25)]
    bench.api.on(POST, by_recipient({name: Said(201, b"{}", gate=gate) for name in names}))
    work = bench.tasks.spawn(bench.deliver(*names), name="test")
    await until(lambda: len(bench.posted()) == 10, turns=100_000)
    assert bench.slots.in_use == 10
    gate.set()
    await work
    assert len(bench.posted()) == 25


async def test_cancelled_task_leaves_the_entry_unknown(bench: DeliveryBench) -> None:
    """The end of the process in the middle of a call: what went out stays unconfirmed."""
    bench.api.on(POST, Said(201, b"{}", gate=asyncio.Event()))
    letter = bench.letter(A)
    delivery = bench.tasks.spawn(bench.delivery.deliver(letter, Policy()), name="test")
    await bench.api.arrived.wait()
    await bench.tasks.cancel()
    assert delivery.cancelled()
    assert bench.ledger.count(State.UNKNOWN) == 1
    assert bench.settled == 1


async def test_admission_refuses_what_would_fail_later(bench: DeliveryBench) -> None:
    """The login's own refusal and an open breaker show at MAIL."""
    bench.delivery.admit(bench.login)
    refused = type(bench.login)(refusal=NotPermitted("suspended", reason="suspended"))
    with pytest.raises(NotPermitted):
        bench.delivery.admit(refused)
    bench.api.on(POST, said(500, b""))
    for number in range(20):
        await bench.deliver(f"r{number}@x.test")
    with pytest.raises(Unavailable):
        bench.delivery.admit(bench.login)
    assert bench.sample("smtp_admission_refusals_total", reason="breaker") == 1.0
    assert isinstance(await bench.deliver(A), Unavailable)
    assert A not in bench.posted()
    bench.clock.advance(5)
    bench.delivery.admit(bench.login)


async def test_long_expected_wait_is_refused_at_mail() -> None:
    """Above two seconds of expected wait the client is told before it uploads."""
    async with delivery_bench(limit=1) as bench:
        gate = asyncio.Event()
        bench.api.on(POST, Said(201, queued_body(A), gate=gate))
        first = bench.tasks.spawn(bench.deliver(A), name="first")
        await bench.api.arrived.wait()
        bench.delivery.admit(bench.login)
        bench.clock.advance(3)
        gate.set()
        await first
        bench.api.arrived.clear()
        gate.clear()
        second = bench.tasks.spawn(bench.deliver(B), name="second")
        await bench.api.arrived.wait()
        with pytest.raises(Unavailable):
            bench.delivery.admit(bench.login)
        gate.set()
        await second


async def test_message_line_names_ids_numbers_and_nothing_private(bench: DeliveryBench) -> None:
    """One line at INFO; no address, no subject, no body, no header value."""
    content = message("X-Track-Opens: yes", body="the secret body")
    await bench.deliver(A, B, content=content)
    (line,) = bench.log.lines
    assert line.level == "info"
    assert line.fields["session"] == "s1"
    assert line.fields["message"] == "submission-1"
    assert line.fields["receipt_id"] == "submission-1"
    assert line.fields["outcome"] == "accepted"
    assert line.fields["account_id"] == 1
    assert line.fields["recipients"] == 2
    assert line.fields["http_statuses"] == [201, 201]
    assert line.fields["size_bytes"] == len(content)
    for private in ("x.test", "Order 17", "secret body", "client.test", "example.test", "bearer"):
        assert private not in bench.log.text


async def test_every_way_out_gives_back_what_it_took(bench: DeliveryBench) -> None:
    """Every way out of a delivery gives back what it counted."""
    await bench.deliver(A)
    await bench.deliver(B, content=b"no header at all\r\n")
    bench.api.on(POST, said(500, b""))
    await bench.deliver(C)
    assert bench.slots.in_use == 0
    assert bench.settled == 3
    assert bench.sample("smtp_emails_forwarded_total", status="success") == 1.0
    assert bench.sample("smtp_emails_forwarded_total", status="unknown") == 1.0
