"""Clients that go on sending whatever happens to the servers, as clients with a queue do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import aiosmtplib

from tests.end_to_end.pods import mail

Counts = dict[tuple[str, str], int]
"""How often each (Message-ID, recipient) was accepted."""

_LATE_SECONDS = 10  # less than any deadline after which a fleet here no longer waits for the API


class Reachable(Protocol):
    """Servers behind one address."""

    async def session(self) -> aiosmtplib.SMTP:
        """A connection to one of them, after STARTTLS and AUTH."""
        ...


class Sender:
    """Clients that send one mail after the other, each until it is taken."""

    def __init__(self, fleet: Reachable) -> None:
        self.taken: list[int] = []
        self._late: Counter[tuple[str, str]] = Counter()
        self._fleet = fleet
        self._numbers = itertools.count(1)
        self._stopped = False
        self._news = asyncio.Condition()

    async def keep_sending(self) -> None:
        """One client. A mail that was not taken is tried again, over a new connection."""
        while not self._stopped:
            number = next(self._numbers)
            while not await self._try(number):
                pass
            async with self._news:
                self.taken.append(number)
                self._news.notify_all()

    async def _try(self, number: int) -> bool:
        try:
            client = await self._fleet.session()
        except (aiosmtplib.SMTPException, OSError):
            return False
        with contextlib.closing(client):
            return await self._hand_over(client, number)

    async def _hand_over(self, client: aiosmtplib.SMTP, number: int) -> bool:
        begin = time.monotonic()
        try:
            await client.send_message(mail(number))
        except (aiosmtplib.SMTPException, OSError):
            if time.monotonic() - begin > _LATE_SECONDS:
                self._late[_key(number)] += 1
            return False
        return True

    async def sent_more(self, count: int) -> None:
        """Return when so many further mails were taken."""
        wanted = len(self.taken) + count
        async with self._news:
            await self._news.wait_for(lambda: len(self.taken) >= wanted)

    def stop(self) -> None:
        """No further mails."""
        self._stopped = True

    def expected(self) -> Counts:
        """What the API must have accepted: each mail once."""
        return {_key(number): 1 for number in self.taken}

    def without_doubt(self, counts: Mapping[tuple[str, str], int]) -> Counts:
        """What the API accepted, less what may be twice.

        A gateway that has waited to its deadline asks the client to come again, though the API may
        have the mail: so it is where the whole machine stood still for that long.
        """
        return {key: 1 if 1 <= n <= 1 + self._late[key] else n for key, n in counts.items()}


def _key(number: int) -> tuple[str, str]:
    return f"<{number}@client.example.org>", f"reader{number}@example.org"


@asynccontextmanager
async def sending(fleet: Reachable, clients: int) -> AsyncIterator[Sender]:
    """So many clients until the block ends; then each ends when its last mail was taken."""
    sender = Sender(fleet)
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(sender.keep_sending())
        yield sender
        sender.stop()
