"""Which sender id stands for a From address.

The API has no filter by address, so all senders of an account are read and kept together; an
address that is not among them is looked for again after a minute, since a person may just have
confirmed it (cakemail-api 4, 1.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from smtp_gateway.api.caches import Flights, Remembered
from smtp_gateway.api.reader import Reader, Reading, Verdict
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import LookupUnavailable, NotPermitted, SenderNotVerified
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.tasks import TaskOwner

LIFE_SECONDS = 600.0  # cakemail-api 1.5
ABSENT_LIFE_SECONDS = 60.0  # cakemail-api 1.5
PAGE_SENDERS = 50  # cakemail-api 4
MAX_PAGES = 200
DIRECTORIES = 1_000  # accounts whose senders are kept
NAMED = 10_000  # senders asked for by their id

PATH = "/brands/default/senders"

# What a sender id may hold to become a path segment as it is (RFC 3986 2.3), "." and ".." apart.
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9\-._~]{1,255}")

Place = tuple[bytes, int | None]
"""A login's key, and the account in which it acts."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The confirmed senders of an account, as read.

    Attributes:
        ids: sender id by address in lower case.
        is_readable: False when this login may not list senders.
        is_complete: False when there were more pages than are read.
        read_at: monotonic time.
    """

    ids: Mapping[str, str]
    is_readable: bool
    is_complete: bool
    read_at: float


class Senders:
    """Finds and remembers senders.

    Args:
        reader: reads for a login.
        clock: for lives.
        tasks: owner of the calls.
    """

    def __init__(self, reader: Reader, clock: Clock, tasks: TaskOwner) -> None:
        self._reader = reader
        self._clock = clock
        self._directories: Remembered[Place, Directory] = Remembered(clock, capacity=DIRECTORIES)
        self._named: Remembered[tuple[Place, str], bool] = Remembered(clock, capacity=NAMED)
        self._readings: Flights[Place, Directory] = Flights(tasks, "senders")
        self._checks: Flights[tuple[Place, str], bool] = Flights(tasks, "sender")

    async def by_address(
        self, login: Login, account: int | None, address: str, fallback: str | None
    ) -> str:
        """The id of the confirmed sender with this address, else the fall-back.

        Raises:
            SenderNotVerified: there is none.
            NotPermitted: this login may not list senders, and nothing is configured.
            GatewayError: as ``Reader.read``.
        """
        folded = address.lower()
        directory = await self._directory((login.key, account), login, folded)
        found = directory.ids.get(folded) or fallback
        if found is not None:
            return found
        if not directory.is_readable:
            raise NotPermitted("senders not readable", reason=_UNREADABLE)
        if not directory.is_complete:
            raise LookupUnavailable("more senders than are read")
        raise SenderNotVerified("no confirmed sender", address=address)

    async def by_id(self, login: Login, account: int | None, sender_id: str) -> str:
        """The id itself, if it is a confirmed sender's, or if this login may not know.

        Raises:
            NotPermitted: it is not.
            GatewayError: as ``Reader.read``.
        """
        key = ((login.key, account), sender_id)
        usable = self._named.get(key) if _ID.fullmatch(sender_id) else False
        if usable is None:
            usable = await self._checks.join(key, partial(self._check, login, account, sender_id))
        if not usable:
            raise NotPermitted("no confirmed sender", reason=_UNCONFIRMED)
        return sender_id

    def forget(self, login: Login, account: int | None, sender_id: str) -> None:
        """A send was refused because of this sender: look again at the next one."""
        place = (login.key, account)
        self._directories.drop(place)
        self._named.drop((place, sender_id))

    async def _directory(self, place: Place, login: Login, folded: str) -> Directory:
        known = self._directories.get(place)
        if known is not None and (folded in known.ids or self._is_recent(known)):
            return known
        return await self._readings.join(place, partial(self._read_all, place, login))

    def _is_recent(self, directory: Directory) -> bool:
        return self._clock.monotonic() < directory.read_at + ABSENT_LIFE_SECONDS

    async def _read_all(self, place: Place, login: Login) -> Directory:
        rows: list[Mapping[str, Any]] = []
        for page in range(1, MAX_PAGES + 1):
            reading = await self._reader.read(
                login, PATH, account=place[1], page=page, per_page=PAGE_SENDERS, sort="-confirmed"
            )
            if reading.verdict is Verdict.FORBIDDEN:
                return self._keep(place, Directory({}, False, True, self._clock.monotonic()))
            added = self._rows(reading)
            rows.extend(added)
            if _is_last(added, reading.document):
                return self._keep(place, self._made_of(rows, is_complete=True))
        return self._keep(place, self._made_of(rows, is_complete=False))

    def _keep(self, place: Place, directory: Directory) -> Directory:
        self._directories.put(place, directory, life_seconds=LIFE_SECONDS)
        return directory

    def _made_of(self, rows: Iterable[Mapping[str, Any]], *, is_complete: bool) -> Directory:
        return Directory(_confirmed(rows), True, is_complete, self._clock.monotonic())

    def _rows(self, reading: Reading) -> list[Mapping[str, Any]]:
        rows = reading.require().get("data")
        if not isinstance(rows, list):
            raise self._reader.unreadable(reading.detail)
        return [row for row in rows if isinstance(row, dict)]

    async def _check(self, login: Login, account: int | None, sender_id: str) -> bool:
        reading = await self._reader.read(login, f"{PATH}/{sender_id}", account=account)
        usable = reading.verdict is Verdict.FORBIDDEN or self._is_confirmed(reading)
        life = LIFE_SECONDS if usable else ABSENT_LIFE_SECONDS
        self._named.put(((login.key, account), sender_id), usable, life_seconds=life)
        return usable

    def _is_confirmed(self, reading: Reading) -> bool:
        if reading.verdict is not Verdict.FOUND:
            return False
        sender = reading.document.get("data")
        if not isinstance(sender, dict):
            raise self._reader.unreadable(reading.detail)
        return sender.get("confirmed") is True


_UNREADABLE = "this login may not list senders, and no sender is configured"
_UNCONFIRMED = "the sender id is no confirmed sender"


def _is_last(added: list[Mapping[str, Any]], document: Mapping[str, Any]) -> bool:
    # The API may give smaller pages than asked for, and says so.
    pagination = document.get("pagination")
    size = pagination.get("per_page") if isinstance(pagination, dict) else None
    return len(added) < (size if isinstance(size, int) and size > 0 else PAGE_SENDERS)


def _confirmed(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Id by address; several with one address: the lowest id (cakemail-api 4)."""
    ids: dict[str, str] = {}
    for row in rows:
        sender_id, address = row.get("id"), row.get("email")
        if row.get("confirmed") is not True or not isinstance(address, str):
            continue
        if not isinstance(sender_id, str) or not sender_id:
            continue
        folded = address.lower()
        known = ids.get(folded)
        if known is None or _order(sender_id) < _order(known):
            ids[folded] = sender_id
    return ids


def _order(sender_id: str) -> tuple[int, str]:
    # Ids are strings of digits as far as seen: shorter is lower, then as text.
    return (len(sender_id), sender_id)
