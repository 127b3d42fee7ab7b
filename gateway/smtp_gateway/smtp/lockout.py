"""Who guesses passwords, told apart from who merely has a wrong one in a configuration.

Distinct wrong credentials are counted, not attempts: one wrong password tried a thousand times, or
by three mechanisms per connection as Symfony and smtplib do, is one. They are counted per client
address and user name, and per client address; never per user name alone, which would hand
attackers a switch against its owner (smtp-server 3.7).

    a credential of this client           verdict
    is among the counted wrong ones       may ask again: the negative cache answers
    is new, room left                     may ask, and takes a place until its answer is known
    is new, places taken by open asks     waits until one of them is answered
    is new, all places hold wrong ones    locked: 421 for fifteen minutes

Taking the place *before* the API is asked is what makes the count hold for parallel attempts: two
hundred sessions at once get no further than one after the other. Only answers lock; a cold start
of many customers behind one address merely waits.

Neither passwords nor user names are kept: keys are hashes under a secret of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from smtp_gateway.errors import LockedOut
from smtp_gateway.policy import LockoutRules
from smtp_gateway.smtp.limits import Recent, network_of

if TYPE_CHECKING:
    from smtp_gateway.utils.clock import Clock

MAX_CLIENTS: Final = 20_000  # counts kept; below 10 KiB each at their worst
MAX_CREDENTIALS: Final = 1_000_000  # in all counts: where each may hold more, fewer are kept
HASH_OCTETS: Final = 16


@dataclass(slots=True)
class _Count:
    """Wrong credentials of one key, and those whose answer is not known yet."""

    limit: int  # of the rules at the latest attempt
    wrong: dict[bytes, float] = field(default_factory=dict)  # credential -> when it was refused
    open: dict[bytes, int] = field(default_factory=dict)  # credential -> how many ask with it
    locked_until: float = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def expire(self, before: float) -> None:
        self.wrong = {c: at for c, at in self.wrong.items() if at > before}

    def knows(self, credential: bytes) -> bool:
        return credential in self.wrong or credential in self.open

    def has_room(self) -> bool:
        return len(self.wrong.keys() | self.open.keys()) < self.limit

    def is_spent(self) -> bool:
        return len(self.wrong) >= self.limit

    def take(self, credential: bytes) -> None:
        self.open[credential] = self.open.get(credential, 0) + 1

    def give_back(self, credential: bytes) -> None:
        self.open[credential] -= 1
        if not self.open[credential]:
            del self.open[credential]
        self.changed.set()
        self.changed = asyncio.Event()  # who waits next waits for the next change


class Attempt:
    """A place among a client's attempts. Settle it, whatever the answer is: ``with`` does."""

    def __init__(self, counts: tuple[_Count, ...], credential: bytes, clock: Clock) -> None:
        self._counts = counts
        self._credential = credential
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for count in self._counts:
            count.give_back(self._credential)

    def was_wrong(self) -> None:
        """The credential was refused; counted once however often, from the latest refusal."""
        for count in self._counts:
            count.wrong[self._credential] = self._clock.monotonic()

    def was_right(self) -> None:
        """The credential is good after all: a password may have been changed back."""
        for count in self._counts:
            count.wrong.pop(self._credential, None)


class Lockout:
    """The counts of all clients, bounded; the least recently seen leave first.

    Args:
        clock: where the time comes from.
        rules: the limits; may be replaced while attempts are open.
        capacity: how many counts are kept.
        secret: key of the hashes; one per process if not given.
    """

    def __init__(
        self,
        clock: Clock,
        rules: LockoutRules | None = None,
        *,
        capacity: int = MAX_CLIENTS,
        secret: bytes | None = None,
    ) -> None:
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)
        self._capacity = capacity
        self._counts: Recent[_Count] = Recent(capacity)
        self.rules = rules or LockoutRules()

    @property
    def rules(self) -> LockoutRules:
        """The limits: of attempts from now on, for what was counted before too."""
        return self._rules

    @rules.setter
    def rules(self, rules: LockoutRules) -> None:
        self._rules = rules
        largest = max(rules.per_user_name, rules.per_address)
        self._counts.capacity = min(self._capacity, MAX_CREDENTIALS // largest)

    async def attempt(self, address: str, username: str, password: str) -> Attempt:
        """A place for one question to the API; waits while open questions hold all places.

        The caller bounds the wait. Credentials in the positive cache do not come here.

        Raises:
            LockedOut: this client gave too many distinct wrong credentials; tells the seconds.
        """
        network = network_of(address)
        credential = self._hash(username, password)
        while True:
            counts = (
                self._count(self._hash(network), self._rules.per_address),
                self._count(self._hash(network, username), self._rules.per_user_name),
            )
            full = self._full(counts, credential)
            if full is None:
                for count in counts:
                    count.take(credential)
                return Attempt(counts, credential, self._clock)
            await full.changed.wait()

    def _full(self, counts: tuple[_Count, ...], credential: bytes) -> _Count | None:
        """The count whose places are all held by open questions; None when there is room."""
        now = self._clock.monotonic()
        for count in counts:
            if count.locked_until > now:
                raise LockedOut(seconds=count.locked_until - now)
            count.expire(now - self._rules.window_seconds)
        fresh = [count for count in counts if not count.knows(credential)]
        for count in fresh:
            if count.is_spent():
                count.locked_until = now + self._rules.lock_seconds
                raise LockedOut(seconds=self._rules.lock_seconds)
        return next((count for count in fresh if not count.has_room()), None)

    def _count(self, key: bytes, limit: int) -> _Count:
        count = self._counts.get(key) or self._counts.put(key, _Count(limit))
        count.limit = limit
        return count

    def _hash(self, *parts: str) -> bytes:
        """A keyed hash of the parts, none of which can be mistaken for another's end."""
        keyed = hashlib.blake2b(key=self._secret, digest_size=HASH_OCTETS)
        for part in parts:
            octets = part.encode("utf-8", "surrogatepass")
            keyed.update(len(octets).to_bytes(4) + octets)
        return keyed.digest()
