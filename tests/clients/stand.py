"""A gateway in front of a sandbox, as client programs meet them, and what arrived behind it."""

from __future__ import annotations

from typing import Any

from tests.clients.mail import Server
from tests.support.sandbox import Sandbox


class Stand:
    """Where clients connect, and what the API accepted because of them since this was made.

    The sandbox is not cleared for it: that would end the login which the gateway keeps, as it does
    for a client in daily use.
    """

    def __init__(self, server: Server, sandbox: Sandbox) -> None:
        self.server = server
        self.sandbox = sandbox
        self._after = max((each["number"] for each in sandbox.emails()), default=0)

    def _accepted(self) -> list[dict[str, Any]]:
        return [each for each in self.sandbox.emails(after=self._after) if each["accepted"]]

    def emails(self) -> list[dict[str, Any]]:
        """Bodies of the requests that the API accepted, oldest first."""
        return [each["body"] for each in self._accepted()]

    def email_ids(self) -> list[str]:
        """The API's ids of the same."""
        return [each["email_id"] for each in self._accepted()]

    def recipients(self) -> list[str]:
        """Who got a mail, sorted, once per mail."""
        return sorted(each["recipient"] for each in self._accepted())
