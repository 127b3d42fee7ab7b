"""Work for the parsing workers of tests: imported there, so it imports no more than they do."""

from __future__ import annotations

import os
import signal
import sys
import time

from smtp_gateway.api.payload import Payload
from smtp_gateway.email.message import Steering
from smtp_gateway.policy import EmailType, Policy
from smtp_gateway.preparation import Prepared


def prepared_with(text: str) -> Prepared:
    """A result that carries one word back."""
    steering = Steering(
        from_address="",
        sender_name=text,
        sender_id=None,
        account_id=None,
        list_id=None,
        email_type=EmailType.TRANSACTIONAL,
        message_id="",
        has_own_message_id=False,
        idempotency_key=None,
        noted=(),
        digest=b"",
        size_bytes=0,
    )
    return Prepared(steering, Payload(b"", b"", b"", (), can_drop_text=False), 0.0, 0.0)


def tell_process(content: bytes, policy: Policy, domain: str) -> Prepared:
    """Work that tells where it runs."""
    return prepared_with(str(os.getpid()))


def tell_modules(content: bytes, policy: Policy, domain: str) -> Prepared:
    """Work that tells what its process has imported."""
    return prepared_with(" ".join(sys.modules))


def die(content: bytes, policy: Policy, domain: str) -> Prepared:
    """Work that takes its process along, unless the message asks it not to."""
    if content.startswith(b"kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    return prepared_with(str(os.getpid()))


def wait_for_file(content: bytes, policy: Policy, domain: str) -> Prepared:
    """Work that ends when the file named by the message exists."""
    path = content.split(b"\n")[0].decode()
    while not os.path.exists(path):  # noqa: PTH110  # the worker's own loop, kept small
        time.sleep(0.005)
    return prepared_with("done")
