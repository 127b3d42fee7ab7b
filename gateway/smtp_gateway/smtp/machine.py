"""The SMTP session without I/O: bytes, hook results and time in; effects out.

It imports neither asyncio nor ssl and reads no clock, so a whole session is a function of its
inputs: cheap to fuzz, and every time-out can be proved without waiting. ``smtp/effects.py`` holds
the interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtp_gateway.smtp.effects import Effect, SessionSettings, TlsInfo
    from smtp_gateway.smtp.replies import Reply


class Machine:
    """One session, from the greeting to the close."""

    def __init__(self, settings: SessionSettings, *, secured: TlsInfo | None = None) -> None:
        self.settings = settings
        self.tls: TlsInfo | None = secured
        self.authenticated = False
        self.mechanism = ""
        self.messages = 0
        self.closing = False
        self.ended_by = ""
        self.in_transaction = False
        self.receiving = False
        self.awaiting_data = False
        self.hook_out = False
        self.declared_size: int | None = None
        self.next_deadline: float | None = None

    def start(self, now: float) -> list[Effect]:
        raise NotImplementedError

    def refuse(self, reply: Reply, now: float) -> list[Effect]:
        raise NotImplementedError

    def feed(self, data: bytes, now: float) -> list[Effect]:
        raise NotImplementedError

    def eof(self, now: float) -> list[Effect]:
        raise NotImplementedError

    def tls_started(self, info: TlsInfo, now: float) -> list[Effect]:
        raise NotImplementedError

    def challenge(self, text: bytes | str, now: float) -> list[Effect]:
        raise NotImplementedError

    def push(self, line: bytes | str, now: float) -> list[Effect]:
        raise NotImplementedError

    def hook_done(self, result: object, now: float) -> list[Effect]:
        raise NotImplementedError

    def hook_failed(self, error: BaseException, now: float) -> list[Effect]:
        raise NotImplementedError

    def tick(self, now: float) -> list[Effect]:
        raise NotImplementedError

    def drain(self, now: float, *, uploads: bool = False) -> list[Effect]:
        raise NotImplementedError

    def stress(self, on: bool, now: float) -> list[Effect]:  # noqa: FBT001  # a signal
        raise NotImplementedError

    def shed(self, reply: Reply, now: float) -> list[Effect]:
        raise NotImplementedError
