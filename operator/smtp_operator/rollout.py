"""Pacing of what an operator upgrade changes, over all fleets. Pure but for its memory.

What a user edits rolls at once and is none of this module's business. What a new operator renders
differently is queued: by wave, inside a wave by name, a share of all fleets at a time. Wave 0 is
the canary: it must have been ready for a while before the next wave begins. A failure stops all,
but only of a fleet that was sound before: what a user broke stops nobody. And when fleets that are
not rolling lose readiness too, the API or the cluster is ill, and the queue only waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Key

CANARY_WAVE = 0
HELD = "the operator's setting ROLLOUT_HOLD stops the upgrade"


class Halt(StrEnum):
    """Why nobody new may begin."""

    NONE = ""
    HELD = "held by the operator's setting"
    UNSEEN = "not every fleet has been seen since the start"
    FAILED = "a rollout failed"
    ILL = "fleets that do not roll lost readiness too"


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at a fleet told.

    Attributes:
        wave: of its spec, 0 to 9.
        waiting: an operator upgrade changed its pods, and they do not run it yet.
        current: they run, or are getting, what this operator renders.
        edited: the user changed its pods; the whole rollout is the user's then.
        rolling: its pods are being replaced now, or about to be.
        refused: the API server took no new pods; those that are there run on.
        upgraded: an upgrade brought what they run, or brings it, and the fleet was sound before.
            Only what comes of that can be a failure of the upgrade.
        failed: its rollout missed its deadline.
        ready: its condition.
    """

    wave: int
    waiting: bool
    current: bool
    edited: bool
    rolling: bool
    refused: bool
    upgraded: bool
    failed: bool
    ready: bool

    @property
    def through(self) -> bool:
        """Nothing more is to come, of what can: who was broken before may stay so."""
        return not self.waiting and not self.rolling and (self.ready or not self.upgraded)


@dataclass(slots=True)
class _Fleet:
    sight: Sight
    settled_since: float | None
    lost_at: float | None


class Pacing:
    """Whose turn it is.

    Args:
        budget_percent: share of fleets that may roll at a time; at least one may.
        soak_seconds: how long wave 0 must have been through and ready before the next begins.
        hold: nobody may begin.
        ill_seconds: readiness lost within this time counts as lost together.
    """

    def __init__(
        self,
        *,
        budget_percent: int,
        soak_seconds: float,
        hold: bool = False,
        ill_seconds: float = 120.0,
    ) -> None:
        self._budget = budget_percent
        self._soak = soak_seconds
        self._hold = hold
        self._ill = ill_seconds
        self._fleets: dict[Key, _Fleet] = {}
        self._expected: set[Key] = set()
        self._admitted: set[Key] = set()
        self._wrong: set[Key] = set()
        self._stopped = HELD if hold else ""

    def expect(self, keys: Iterable[Key]) -> None:
        """Fleets that exist: nobody begins until each of them has been seen."""
        self._expected = set(keys) - set(self._fleets)

    def see(self, key: Key, sight: Sight, now: float) -> None:
        """Take in one look at a fleet."""
        self._expected.discard(key)
        before = self._fleets.get(key)
        if before is not None:
            sight = _tried_again(before.sight, sight)
        # A rollout takes no readiness away, so the canary's minutes begin when it is through. What
        # the API server did not take of an upgrade, the canary has not tried.
        settled = sight.through and not (sight.refused and sight.upgraded)
        settled_since = now if settled else None
        lost_at = None
        if before is not None:
            if settled and before.settled_since is not None:
                settled_since = before.settled_since
            if not sight.ready:
                lost_at = now if before.sight.ready else before.lost_at
        self._fleets[key] = _Fleet(sight, settled_since, lost_at)
        if sight.edited or (sight.through and not sight.refused):
            self._admitted.discard(key)

    def forget(self, key: Key) -> None:
        """A fleet is gone."""
        self._expected.discard(key)
        self._fleets.pop(key, None)
        self._admitted.discard(key)

    def pass_over(self, key: Key) -> None:
        """A fleet that cannot be looked at: nobody waits to see it, or for what it cannot begin."""
        self._expected.discard(key)
        fleet = self._fleets.get(key)
        if fleet is not None and not fleet.sight.current:
            fleet.sight = replace(fleet.sight, waiting=False, rolling=False, refused=True)

    def turn(self, key: Key) -> bool:
        """Whether this fleet may take what an upgrade changed."""
        return key in self._admitted

    def word(self, key: Key) -> Word:
        """What there is to say to this fleet, as last judged; who is well hears so at once."""
        wrong = key in self._wrong and key in self._fleets and self._went_wrong(key)
        return Word(turn=self.turn(key), wrong=wrong, stopped=self._stopped)

    def judge(self, now: float) -> set[Key]:
        """Look who went wrong, and whether that stops the upgrade; returns whom that is news to.

        An ill cluster, and a start, pass. They are no time to write to every fleet that waits.
        """
        halt = self.halt(now)
        if halt in {Halt.ILL, Halt.UNSEEN}:
            return set()
        wrong = {key for key in self._fleets if self._went_wrong(key)}
        stopped = HELD if self._hold else _stopped_by(min(wrong)) if wrong else ""
        news = wrong ^ self._wrong
        if stopped != self._stopped:
            news |= {key for key, fleet in self._fleets.items() if self._waits(key, fleet)}
        self._wrong, self._stopped = wrong, stopped
        return news

    def halt(self, now: float) -> Halt:
        """Why nobody new may begin."""
        if self._hold:
            return Halt.HELD
        if self._expected:
            return Halt.UNSEEN
        if any(self._lost_lately(key, now) for key in self._fleets if not self._touched(key)):
            return Halt.ILL
        if any(self._went_wrong(key) for key in self._fleets):
            return Halt.FAILED
        return Halt.NONE

    def admit(self, now: float) -> list[Key]:
        """Let as many begin as the budget allows; returns who may begin now."""
        if self.halt(now) is not Halt.NONE:
            return []
        under_way = sum(1 for key in self._fleets if self._under_way(key))
        places = max(1, math.floor(len(self._fleets) * self._budget / 100)) - under_way
        chosen = self._candidates(now)[: max(0, places)]
        self._admitted.update(chosen)
        return chosen

    def waiting(self) -> int:
        """How many fleets wait for their turn."""
        return sum(1 for key, fleet in self._fleets.items() if self._waits(key, fleet))

    def _candidates(self, now: float) -> list[Key]:
        waiting = [key for key, fleet in self._fleets.items() if self._waits(key, fleet)]
        if not waiting:
            return []
        wave = min(self._fleets[key].sight.wave for key in waiting)
        earlier = [key for key, fleet in self._fleets.items() if fleet.sight.wave < wave]
        if any(self._under_way(key) for key in earlier):
            return []
        canaries = [key for key in earlier if self._fleets[key].sight.wave == CANARY_WAVE]
        if not all(self._soaked(key, now) for key in canaries):
            return []
        return sorted(key for key in waiting if self._fleets[key].sight.wave == wave)

    def _waits(self, key: Key, fleet: _Fleet) -> bool:
        return fleet.sight.waiting and key not in self._admitted

    def _under_way(self, key: Key) -> bool:
        """What was refused keeps its turn, to be tried again, but no place."""
        sight = self._fleets[key].sight
        return sight.rolling or (key in self._admitted and not sight.refused)

    def _touched(self, key: Key) -> bool:
        """It was let begin, or has the new revision, perhaps from before a restart of ours."""
        return key in self._admitted or self._fleets[key].sight.current

    def _soaked(self, key: Key, now: float) -> bool:
        since = self._fleets[key].settled_since
        return since is not None and now - since >= self._soak

    def _went_wrong(self, key: Key) -> bool:
        fleet = self._fleets[key]
        if not fleet.sight.upgraded or fleet.sight.refused:
            return False
        return fleet.sight.failed or (key in self._admitted and fleet.lost_at is not None)

    def _lost_lately(self, key: Key, now: float) -> bool:
        lost_at = self._fleets[key].lost_at
        return lost_at is not None and now - lost_at < self._ill


def _stopped_by(key: Key) -> str:
    return (
        f"the upgrade has stopped, as fleet {key.namespace}/{key.name} did not become Ready in it; "
        "mend that one, set its image to the one before, or its rollout.onOperatorUpgrade to Hold"
    )


def _tried_again(before: Sight, sight: Sight) -> Sight:
    """What was refused stays so until it is taken, else each new try would take a place."""
    if before.refused and sight.rolling and not sight.current:
        return replace(sight, rolling=False, refused=True)
    return sight
