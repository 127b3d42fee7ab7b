"""When a session is late: one deadline per phase, as arithmetic on given times.

No phase lacks a deadline, and outside DATA bytes do not extend one, only completed commands do:
otherwise a client that sends an octet now and then holds its place for ever (slow loris).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtp_gateway.smtp.effects import Timeouts

# Shorter gaps between two reads count as slowness, longer ones as a stall of the network.
STALL_SECONDS = 5.0


class Deadlines:
    """Deadlines of everything but DATA."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.stressed = False
        self._timeouts = timeouts
        self._began = 0.0
        self._idle_since = 0.0
        self._asked = 0.0

    def begin(self, now: float) -> None:
        """The allowance before login starts: at connect, or when a login was thrown away."""
        self._began = self._idle_since = now

    def replied(self, now: float) -> None:
        """A command was completed."""
        self._idle_since = now

    def asked(self, now: float) -> None:
        """The client owes an answer to a challenge."""
        self._asked = now

    def login_by(self) -> float:
        """The end of all that precedes a good login, whatever is sent meanwhile."""
        t = self._timeouts
        allowed = t.before_login_stressed_seconds if self.stressed else t.before_login_seconds
        return self._began + allowed

    def command_by(self, *, authenticated: bool) -> float:
        """The time by which the next command must be complete."""
        t = self._timeouts
        if authenticated:
            return self._idle_since + t.next_command_seconds  # RFC 5321 4.5.3.2.7
        if self.stressed:
            return min(self.login_by(), self._idle_since + t.next_command_stressed_seconds)
        return self.login_by()

    def answer_by(self) -> float:
        """The time by which the answer to a challenge must be complete."""
        return min(self.login_by(), self._asked + self._timeouts.auth_answer_seconds)


class UploadPace:
    """Whether a message arrives fast enough.

    Silence has one limit (RFC 5321 4.5.3.2.5), the average rate over each window another. The rate
    is judged when octets arrive. A stall of the network is no slowness: up to the limit of
    silence, once per message, it is taken out of the window; a trickler uses that up and is cut.
    """

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self._last = now
        self._window_began = now + timeouts.data_rate_window_seconds  # the first window is free
        self._octets = 0
        self._stall_left = timeouts.data_read_seconds

    @property
    def read_by(self) -> float:
        """The time by which something must arrive."""
        return self._last + self._timeouts.data_read_seconds

    def arrived(self, octets: int, now: float) -> bool:
        """Note a read; false when the window that it closes was too slow."""
        gap = now - self._last
        self._last = now
        if gap > STALL_SECONDS:
            forgiven = min(gap, self._stall_left)
            self._stall_left -= forgiven
            self._window_began += forgiven
        elapsed = now - self._window_began
        if elapsed <= 0:
            return True
        self._octets += octets
        if elapsed < self._timeouts.data_rate_window_seconds:
            return True
        fast = self._octets >= elapsed * self._timeouts.data_minimum_bytes_per_second
        self._window_began, self._octets = now, 0
        return fast
