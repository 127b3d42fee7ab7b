"""The message being received, and who frees its memory."""

from __future__ import annotations

import pytest
from aiosmtpd.smtp import Envelope
from prometheus_client import CollectorRegistry

from smtp_gateway.smtp.admission import MemoryBudget
from smtp_gateway.smtp.context import take_settled
from smtp_gateway.smtp.intake import Intake
from smtp_gateway.telemetry import Metrics


@pytest.fixture
def memory() -> MemoryBudget:
    """Three hundred thousand bytes."""
    metrics = Metrics(CollectorRegistry())
    return MemoryBudget(
        400_000, resting_bytes=0, in_flight=metrics.bytes_in_flight, total=metrics.memory_budget
    )


def test_joins_the_pieces_for_the_envelope(memory: MemoryBudget) -> None:
    """Both names of the content are one object."""
    intake, envelope = Intake(memory), Envelope()
    assert intake.admit(100, None)
    intake.begin(5.0)
    assert intake.add(b"one ")
    assert intake.add(b"two")
    assert (intake.size, intake.began) == (7, 5.0)
    intake.hand_to(envelope, 6.0)
    assert envelope.content == b"one two"
    assert envelope.content is envelope.original_content
    assert vars(envelope)["received_monotonic"] == 6.0


def test_the_edge_frees_what_the_handler_did_not_take(memory: MemoryBudget) -> None:
    """A handler that knows nothing of memory leaks none."""
    intake, envelope = Intake(memory), Envelope()
    intake.admit(100, None)
    intake.hand_to(envelope, 0.0)
    assert memory.reserved_bytes == 300
    intake.settle(envelope)
    assert memory.reserved_bytes == 0


def test_the_handler_frees_what_it_took(memory: MemoryBudget) -> None:
    """When its last API call has an answer."""
    intake, envelope = Intake(memory), Envelope()
    intake.admit(100, None)
    intake.hand_to(envelope, 0.0)
    settled = take_settled(envelope)
    intake.settle(envelope)
    intake.release()
    assert memory.reserved_bytes == 300
    settled()
    assert memory.reserved_bytes == 0


def test_says_when_the_memory_does_not_suffice(memory: MemoryBudget) -> None:
    """The piece is kept all the same: the client has sent it."""
    intake, envelope = Intake(memory), Envelope()
    intake.admit(0, None)
    intake.begin(0.0)
    assert intake.add(b"x" * 90_000)
    assert not intake.add(b"x" * 90_000)
    intake.hand_to(envelope, 0.0)
    assert len(envelope.content or b"") == 180_000


def test_discarding_frees_memory_and_pieces(memory: MemoryBudget) -> None:
    """A refused message holds nothing."""
    intake, envelope = Intake(memory), Envelope()
    intake.admit(100, None)
    intake.add(b"x")
    intake.discard()
    assert memory.reserved_bytes == 0
    intake.hand_to(envelope, 0.0)
    assert envelope.content == b""


def test_a_second_mail_reserves_anew(memory: MemoryBudget) -> None:
    """What the first one held is given back first."""
    intake = Intake(memory)
    intake.admit(60_000, None)
    assert intake.admit(90_000, None)
    assert memory.reserved_bytes == 270_000
    assert not intake.admit(110_000, None)
    assert memory.reserved_bytes == 0
