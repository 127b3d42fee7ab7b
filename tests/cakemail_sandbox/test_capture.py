"""What is kept, and for how long."""

from __future__ import annotations

import asyncio

from cakemail_sandbox.capture import Capture, Exchange, Given
from smtp_gateway.utils.tasks import TaskOwner

ANSWERED = Given(201, b"{}", "complete")


def exchange(body: bytes = b"{}", path: str = "/v2/emails") -> Exchange:
    """A request that has just come."""
    return Exchange(
        0, 0.0, "POST", path, "", {}, 1, body=body, recipient="a@b.test", message_id="<1>"
    )


def test_the_oldest_are_forgotten_first() -> None:
    """By number of requests; the count per message and recipient stays."""
    capture = Capture(kept_requests=2, kept_bytes=1000)
    for _ in range(3):
        capture.add(exchange())

    assert [each.number for each in capture.mails()] == [2, 3]
    assert (capture.forgotten, capture.received) == (1, {("<1>", "a@b.test"): 3})


def test_the_octets_of_all_are_bounded() -> None:
    """A few large mails push out many small ones."""
    capture = Capture(kept_requests=100, kept_bytes=1000)
    for size in (10, 20, 985):
        capture.add(exchange(b"x" * size))

    assert [len(each.body) for each in capture.mails()] == [985]


def test_numbers_go_on_after_a_clearing() -> None:
    """So whoever waits for what comes after a number misses nothing."""
    capture = Capture(kept_requests=10, kept_bytes=1000)
    capture.add(exchange())
    capture.clear()
    capture.add(exchange())

    assert [each.number for each in capture.mails(after=1)] == [2]


def test_only_requests_to_send_are_mails() -> None:
    """Logins and look-ups are requests."""
    capture = Capture(kept_requests=10, kept_bytes=1000)
    capture.add(exchange(path="/token"))

    assert (len(capture.requests()), capture.mails()) == (1, [])


async def test_who_waits_is_woken_by_the_answer() -> None:
    """Not by the arrival alone, if the condition says so."""
    capture = Capture(kept_requests=10, kept_bytes=1000)
    owner = TaskOwner(lambda name, failure: None)
    arriving = exchange()

    async def arrive() -> None:
        capture.add(arriving)
        await asyncio.sleep(0)
        capture.answer(arriving, ANSWERED)

    task = owner.spawn(arrive(), name="arrive")
    in_time = await capture.wait(lambda: arriving.given is not None, seconds=5)
    await task

    assert in_time is True


async def test_who_waits_too_long_is_told() -> None:
    """With False."""
    capture = Capture(kept_requests=10, kept_bytes=1000)

    assert await capture.wait(lambda: False, seconds=0.01) is False
