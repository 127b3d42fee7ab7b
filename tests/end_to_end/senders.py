"""Clients that go on sending whatever happens to the servers, as clients with a queue do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiosmtplib

from tests.end_to_end.pods import mail


class Reachable(Protocol):
    """Servers behind one address."""

    async def session(self) -> aiosmtplib.SMTP:
        """A connection to one of them, after STARTTLS and AUTH."""
        ...


class Sender:
    """Clients that send one mail after the other, each until it is taken."""

    def __init__(self, fleet: Reachable) -> None:
        self.taken: list[int] = []
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
            with contextlib.closing(client):
                await client.send_message(mail(number))
        except (aiosmtplib.SMTPException, OSError):
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

    def expected(self) -> dict[tuple[str, str], int]:
        """What the API must have accepted: each mail once."""
        return {(f"<{n}@client.example.org>", f"reader{n}@example.org"): 1 for n in self.taken}


@asynccontextmanager
async def sending(fleet: Reachable, clients: int) -> AsyncIterator[Sender]:
    """So many clients until the block ends; then each ends when its last mail was taken."""
    sender = Sender(fleet)
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(sender.keep_sending())
        yield sender
        sender.stop()
