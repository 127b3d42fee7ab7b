"""The values that leave the mail layer."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from smtp_gateway.email.message import Submission
from smtp_gateway.email.transformer import transform
from smtp_gateway.policy import Policy

CONTENT = b"From: shop@sender.test\r\nSubject: Hi\r\n\r\nbody\r\n"


@pytest.fixture
def submission() -> Submission:
    """A small one."""
    return transform(CONTENT, Policy(), digest=b"d" * 32)


def test_a_submission_travels_between_processes(submission: Submission) -> None:
    """Large messages are read in a worker, so the result must survive pickling."""
    assert pickle.loads(pickle.dumps(submission)) == submission  # noqa: S301  # our own bytes


def test_a_submission_cannot_be_changed(submission: Submission) -> None:
    """Every recipient gets the same, so nobody may alter it on the way."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        submission.subject = "other"  # type: ignore[misc]  # what the test is about
