"""What must be known before a send: account, sender, list; and after an unclear one, the log.

Nothing was sent when one of these fails, so nothing is ambiguous: a failure is temporary unless the
API clearly says no. Caches are keyed by the login's keyed hash and the account together, so that no
credential ever profits from what another one may see (cakemail-api 1.5).

    lookups = Lookups(client, clock, tasks)
    account = await lookups.account(login, 1234)
    sender = await lookups.sender(login, account, "shop@example.test")
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from smtp_gateway.api.caches import Flights, Remembered
from smtp_gateway.api.client import ApiClient
from smtp_gateway.api.grants import number
from smtp_gateway.api.reader import Reader, Verdict
from smtp_gateway.api.senders import Place, Senders
from smtp_gateway.api.sent_log import SentLog
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import NotPermitted
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.tasks import TaskOwner

LISTS_LIFE_SECONDS = 1_800.0  # cakemail-api 1.5
ACCOUNT_LIFE_SECONDS = 300.0  # cakemail-api 1.5
NO_LIFE_SECONDS = 60.0  # of an absence, as for senders
ENTRIES = 10_000
PAGE_LISTS = 50


class Lookups:
    """The look-ups of cakemail-api 4 for one process.

    Args:
        client: the way to the API.
        clock: for lives.
        tasks: owner of the calls.
    """

    def __init__(self, client: ApiClient, clock: Clock, tasks: TaskOwner) -> None:
        self._reader = Reader(client, clock)
        self._senders = Senders(self._reader, clock, tasks)
        self._log = SentLog(self._reader)
        # 0 stands for "no list": None would be "not known".
        self._lists: Remembered[Place, int] = Remembered(clock, capacity=ENTRIES)
        self._list_calls: Flights[Place, int] = Flights(tasks, "lists")
        self._accounts: Remembered[Place, bool] = Remembered(clock, capacity=ENTRIES)
        self._account_calls: Flights[Place, bool] = Flights(tasks, "account")

    async def account(self, login: Login, wanted: int | None) -> int | None:
        """The account in which calls act, None for the login's own (cakemail-api 1.4).

        Raises:
            NotPermitted: this login cannot select it.
            GatewayError: as ``Reader.read``.
        """
        if wanted is None or login.is_access_token or wanted == login.own_account_id:
            return wanted
        if wanted in login.reachable_accounts:
            return wanted
        place = (login.key, wanted)
        usable = self._accounts.get(place)
        if usable is None:
            work = partial(self._test_account, place, login, wanted)
            usable = await self._account_calls.join(place, work)
        if not usable:
            reason = f"this login cannot use account {wanted}"
            raise NotPermitted("account not accessible", reason=reason)
        return wanted

    async def sender(
        self,
        login: Login,
        account: int | None,
        address: str,
        sender_id: str | None = None,
        fallback: str | None = None,
    ) -> str:
        """The sender id of a message (cakemail-api 7.2, `From`).

        Args:
            login: who sends.
            account: as ``account`` answered.
            address: the mailbox of From.
            sender_id: named by the message; goes before any look-up by address.
            fallback: the operator's, for an address that is no confirmed sender.

        Raises:
            SenderNotVerified: no confirmed sender has the address.
            NotPermitted: the named id is no confirmed sender, or senders may not be listed.
            GatewayError: as ``Reader.read``.
        """
        if sender_id is not None:
            return await self._senders.by_id(login, account, sender_id)
        return await self._senders.by_address(login, account, address, fallback)

    def forget_sender(self, login: Login, account: int | None, sender_id: str) -> None:
        """A send was refused because of this sender: the caches are dropped (cakemail-api 1.5)."""
        self._senders.forget(login, account, sender_id)

    async def mailing_list(self, login: Login, account: int | None) -> int | None:
        """The oldest active list, None when there is none or lists may not be read.

        Raises:
            GatewayError: as ``Reader.read``.
        """
        place = (login.key, account)
        known = self._lists.get(place)
        if known is None:
            known = await self._list_calls.join(place, partial(self._find_list, place, login))
        return known or None

    async def find_submitted(
        self,
        login: Login,
        account: int | None,
        recipient: str,
        message_id: str,
        since_wall: float,
    ) -> str | None:
        """The API's id of a mail whose answer was lost; see ``SentLog.find``."""
        return await self._log.find(login, account, recipient, message_id, since_wall)

    async def _test_account(self, place: Place, login: Login, wanted: int) -> bool:
        reading = await self._reader.read(login, f"/accounts/{wanted}")
        usable = reading.verdict is Verdict.FOUND
        life = ACCOUNT_LIFE_SECONDS if usable else NO_LIFE_SECONDS
        self._accounts.put(place, usable, life_seconds=life)
        return usable

    async def _find_list(self, place: Place, login: Login) -> int:
        reading = await self._reader.read(
            login,
            "/lists",
            account=place[1],
            page=1,
            per_page=PAGE_LISTS,
            filter="status==active",
            sort="+created_on",
        )
        found = 0
        if reading.verdict is not Verdict.FORBIDDEN:
            rows = reading.require().get("data")
            if not isinstance(rows, list):
                raise self._reader.unreadable(reading.detail)
            found = _oldest_active(rows)
        life = LISTS_LIFE_SECONDS if found else NO_LIFE_SECONDS
        self._lists.put(place, found, life_seconds=life)
        return found


def _oldest_active(rows: Sequence[Any]) -> int:
    """Number of the oldest active list; 0 for none (cakemail-api 4, D4)."""
    active = [row for row in rows if isinstance(row, dict) and row.get("status") == "active"]
    for row in sorted(active, key=_created):
        found = number(row.get("id"))
        if found is not None:
            return found
    return 0


def _created(row: Mapping[str, Any]) -> float:
    created = row.get("created_on")
    return created if isinstance(created, int | float) else math.inf
