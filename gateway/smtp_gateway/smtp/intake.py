"""The message that a connection is receiving: its pieces, and the memory they hold.

From MAIL to the final dot the edge owns the reservation. With the call of ``handle_DATA`` it goes
to the envelope as ``on_settled``: a handler that takes it (``take_settled``) frees it when its
last API call has an answer; otherwise the edge does when the hook ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

    from smtp_gateway.smtp.admission import MemoryBudget, Reservation


class Intake:
    """Pieces of one message at a time.

    Attributes:
        size: octets received of the open message.
        began: when its first octet was asked for.
    """

    __slots__ = ("_memory", "_pieces", "_reservation", "began", "size")

    def __init__(self, memory: MemoryBudget) -> None:
        self._memory = memory
        self._pieces: list[bytes] = []
        self._reservation: Reservation | None = None
        self.size = 0
        self.began = 0.0

    def admit(self, declared_bytes: int, key: bytes | None) -> bool:
        """Reserve for a message before it is sent; false when there is no room."""
        self.release()
        self._reservation = self._memory.reserve(declared_bytes, key)
        return self._reservation is not None

    def begin(self, now: float) -> None:
        """DATA was accepted."""
        self._pieces = []
        self.size = 0
        self.began = now

    def add(self, piece: bytes) -> bool:
        """Keep a piece; false when it is more than the memory reserved and none can be had."""
        self._pieces.append(piece)
        self.size += len(piece)
        return self.fits()

    def fits(self) -> bool:
        """Whether what was received has its memory; asks for more when it has not."""
        held = self._reservation
        return held is None or held.holds(self.size)

    def discard(self) -> None:
        """Forget the pieces: the message will be refused."""
        self._pieces = []
        self.release()

    def release(self) -> None:
        """Free the memory, pieces included."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        self._pieces = []

    def hand_to(self, envelope: Envelope, now: float) -> None:
        """The final dot: give content and memory to the envelope."""
        # aiosmtpd gives both names the same object, so no octet is held twice
        envelope.content = envelope.original_content = b"".join(self._pieces)
        held, self._reservation, self._pieces = self._reservation, None, []
        vars(envelope)["received_monotonic"] = now
        if held is not None:
            vars(envelope)["on_settled"] = held.release

    @staticmethod
    def settle(envelope: Envelope) -> None:
        """The hook has ended: free what the handler did not take."""
        release = vars(envelope).pop("on_settled", None)
        if release is not None:
            release()
