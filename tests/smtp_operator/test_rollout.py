"""Pacing of an operator upgrade: waves, a soak of the canary, a budget, and when to stop."""

from __future__ import annotations

from dataclasses import replace

from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Key
from smtp_operator.rollout import Halt, Pacing, Sight

WAITING = Sight(wave=5, waiting=True, current=False, edited=False, rolling=False, refused=False,
                upgraded=False, failed=False, ready=True)  # fmt: skip
DONE = replace(WAITING, waiting=False, current=True, upgraded=True)
ROLLING = replace(DONE, rolling=True)
BROKEN = replace(WAITING, ready=False)
EDITED = replace(WAITING, waiting=False, edited=True)
REFUSED = replace(WAITING, waiting=False, refused=True)


def key(number: int) -> Key:
    """Names sort by number."""
    return Key("mail", f"fleet-{number:03}")


def pacing(*, budget: int = 10, soak: float = 300.0, hold: bool = False) -> Pacing:
    """The defaults of the settings."""
    return Pacing(budget_percent=budget, soak_seconds=soak, hold=hold)


def test_a_tenth_rolls_at_a_time_in_the_order_of_names() -> None:
    """30 fleets, 10 %: three begin; when one is through, the next begins."""
    queue = pacing()
    for number in range(30):
        queue.see(key(number), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0), key(1), key(2)]
    assert queue.admit(1.0) == []
    assert [queue.turn(key(n)) for n in (0, 2, 3)] == [True, True, False]
    queue.see(key(1), ROLLING, 2.0)
    assert queue.admit(2.0) == []
    queue.see(key(1), DONE, 3.0)
    assert queue.admit(3.0) == [key(3)]
    assert queue.waiting() == 26


def test_at_least_one_rolls_however_few_there_are() -> None:
    """A tenth of three is none; one may go."""
    queue = pacing()
    for number in range(3):
        queue.see(key(number), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]


def test_the_canary_soaks_before_the_next_wave() -> None:
    """Wave 0 goes first, and must then have been ready for five minutes."""
    queue = pacing()
    queue.see(key(9), replace(WAITING, wave=0), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(9)]
    queue.see(key(9), replace(ROLLING, wave=0, ready=False), 1.0)
    queue.see(key(9), replace(DONE, wave=0), 10.0)
    assert queue.admit(309.0) == []
    assert queue.admit(310.0) == [key(1)]


def test_the_canary_soaks_from_when_its_rollout_is_through() -> None:
    """It was ready all the while, as no rollout takes capacity away: that counts for nothing."""
    queue = pacing()
    queue.see(key(9), replace(WAITING, wave=0), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(9)]
    queue.see(key(9), replace(ROLLING, wave=0), 1.0)
    queue.see(key(9), replace(DONE, wave=0), 400.0)
    assert queue.admit(699.0) == []
    assert queue.admit(700.0) == [key(1)]


def test_a_later_wave_waits_until_the_earlier_one_is_through() -> None:
    """Waves do not overlap."""
    queue = pacing(budget=100)
    queue.see(key(1), replace(WAITING, wave=1), 0.0)
    queue.see(key(2), replace(WAITING, wave=2), 0.0)
    assert queue.admit(0.0) == [key(1)]
    queue.see(key(1), replace(ROLLING, wave=1), 1.0)
    assert queue.admit(1.0) == []
    queue.see(key(1), replace(DONE, wave=1), 2.0)
    assert queue.admit(2.0) == [key(2)]


def test_a_failed_rollout_stops_all() -> None:
    """Its deadline passed: nobody else begins, until it is well or gone."""
    queue = pacing()
    for number in range(20):
        queue.see(key(number), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0), key(1)]
    queue.see(key(0), replace(DONE, failed=True), 600.0)
    queue.see(key(1), DONE, 600.0)
    assert queue.halt(600.0) is Halt.FAILED
    assert queue.admit(600.0) == []
    queue.see(key(0), DONE, 700.0)
    assert queue.admit(700.0) == [key(2), key(3)]


def test_a_failure_from_before_a_restart_stops_all_too() -> None:
    """The operator upgrade itself restarts the operator; what has the new revision counts."""
    queue = pacing()
    queue.see(key(0), replace(DONE, failed=True), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.halt(0.0) is Halt.FAILED


def test_what_a_user_broke_stops_nobody() -> None:
    """An edit that failed is the user's; so is a fleet that was broken before the upgrade."""
    queue = pacing()
    queue.see(key(0), replace(EDITED, rolling=True), 0.0)
    queue.see(key(0), replace(DONE, upgraded=False, failed=True, ready=False), 1.0)
    queue.see(key(1), BROKEN, 1.0)
    queue.see(key(2), WAITING, 1.0)
    assert queue.halt(1.0) is Halt.NONE
    assert queue.admit(1.0) == [key(1)]
    queue.see(key(1), replace(BROKEN, waiting=False, current=True, rolling=True), 2.0)
    assert queue.admit(2.0) == []
    queue.see(key(1), replace(BROKEN, waiting=False, current=True, failed=True), 602.0)
    assert queue.halt(602.0) is Halt.NONE
    assert queue.admit(602.0) == [key(2)]


def test_a_later_wave_does_not_wait_for_a_fleet_that_was_broken_before() -> None:
    """It has had its rollout; nobody knows when its user mends it."""
    queue = pacing()
    queue.see(key(1), replace(BROKEN, wave=1), 0.0)
    queue.see(key(2), replace(WAITING, wave=2), 0.0)
    assert queue.admit(0.0) == [key(1)]
    queue.see(key(1), replace(BROKEN, wave=1, waiting=False, current=True), 1.0)
    assert queue.admit(1.0) == [key(2)]


def test_a_canary_that_was_broken_before_blocks_nobody_but_has_its_minutes() -> None:
    """It cannot vouch for anything, and is no reason to stop either."""
    queue = pacing()
    queue.see(key(0), replace(BROKEN, wave=0), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(BROKEN, wave=0, waiting=False, current=True), 10.0)
    assert queue.admit(309.0) == []
    assert queue.admit(310.0) == [key(1)]


def test_a_failure_that_no_upgrade_caused_stops_nobody_after_a_restart() -> None:
    """A mistyped image that the upgrade does not touch; the Deployment remembers whose it is."""
    queue = pacing()
    queue.see(key(0), replace(DONE, upgraded=False, failed=True), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.halt(0.0) is Halt.NONE
    assert queue.admit(0.0) == [key(1)]


def test_an_edit_takes_a_fleet_out_of_the_upgrade() -> None:
    """The rollout is the user's then, and so is its failure."""
    queue = pacing()
    queue.see(key(0), WAITING, 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(EDITED, rolling=True), 1.0)
    queue.see(key(0), replace(DONE, upgraded=False, rolling=True, ready=False), 2.0)
    assert queue.halt(2.0) is Halt.NONE
    assert queue.admit(2.0) == []
    queue.see(key(0), replace(DONE, upgraded=False, failed=True, ready=False), 3.0)
    assert queue.admit(3.0) == [key(1)]


def test_pods_that_the_api_server_refused_take_no_place() -> None:
    """Neither a user's nor an upgrade's, nor each time that they are tried again."""
    queue = pacing()
    queue.see(key(0), replace(EDITED, wave=1, rolling=True), 0.0)
    queue.see(key(0), replace(EDITED, wave=1, refused=True), 0.0)
    queue.see(key(1), replace(WAITING, wave=1), 0.0)
    queue.see(key(2), replace(WAITING, wave=2), 0.0)
    assert queue.admit(1.0) == [key(1)]
    queue.see(key(1), replace(REFUSED, wave=1, upgraded=True), 2.0)
    assert queue.turn(key(1))
    assert queue.admit(2.0) == [key(2)]
    queue.see(key(2), replace(DONE, wave=2), 3.0)
    queue.see(key(3), replace(WAITING, wave=3), 3.0)
    queue.see(key(0), replace(EDITED, wave=1, rolling=True), 60.0)
    queue.see(key(1), replace(REFUSED, wave=1, refused=False, rolling=True, upgraded=True), 60.0)
    assert queue.admit(60.0) == [key(3)]
    queue.see(key(1), replace(ROLLING, wave=1), 61.0)
    queue.see(key(3), replace(DONE, wave=3), 61.0)
    queue.see(key(4), replace(WAITING, wave=4), 61.0)
    assert queue.admit(61.0) == []


def test_a_canary_whose_new_pods_were_refused_has_tried_nothing() -> None:
    """It is ready only because its old pods are."""
    queue = pacing()
    queue.see(key(0), replace(WAITING, wave=0), 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(REFUSED, wave=0, upgraded=True), 1.0)
    assert queue.admit(1000.0) == []


def test_readiness_lost_while_rolling_stops_all() -> None:
    """Capacity must never drop in a rollout."""
    queue = pacing()
    queue.see(key(0), WAITING, 0.0)
    queue.see(key(1), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(ROLLING, ready=False), 5.0)
    assert queue.halt(5.0) is Halt.FAILED


def test_when_others_lose_readiness_too_the_queue_only_waits() -> None:
    """The API or the cluster is ill: that is no failed rollout."""
    queue = pacing()
    for number in range(3):
        queue.see(key(number), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(ROLLING, ready=False), 5.0)
    queue.see(key(2), replace(WAITING, ready=False), 6.0)
    assert queue.halt(6.0) is Halt.ILL
    queue.see(key(2), WAITING, 60.0)
    queue.see(key(0), DONE, 61.0)
    assert queue.admit(61.0) == [key(1)]


def test_a_hold_lets_nobody_begin() -> None:
    """The operator's setting stops it by hand."""
    queue = pacing(hold=True)
    queue.see(key(0), WAITING, 0.0)
    assert queue.admit(0.0) == []
    assert queue.halt(0.0) is Halt.HELD


def test_nobody_begins_before_every_fleet_was_seen() -> None:
    """After a start the first to be looked at may be of the last wave."""
    queue = pacing()
    queue.expect([key(0), key(1)])
    queue.see(key(1), WAITING, 0.0)
    assert queue.halt(0.0) is Halt.UNSEEN
    queue.see(key(0), replace(WAITING, wave=0), 0.0)
    assert queue.admit(0.0) == [key(0)]


def test_a_fleet_that_is_gone_blocks_nobody() -> None:
    """Neither as unseen nor as under way."""
    queue = pacing()
    queue.expect([key(0), key(1), key(2)])
    queue.forget(key(0))
    queue.see(key(1), WAITING, 0.0)
    queue.see(key(2), WAITING, 0.0)
    assert queue.admit(0.0) == [key(1)]
    queue.forget(key(1))
    assert queue.admit(0.0) == [key(2)]


def test_a_fleet_that_cannot_be_looked_at_blocks_nobody() -> None:
    """It may never be seen; who has been goes on."""
    queue = pacing()
    queue.expect([key(1), key(2)])
    queue.see(key(1), WAITING, 0)
    assert queue.admit(0) == []
    queue.pass_over(key(2))
    assert queue.admit(0) == [key(1)]


def test_a_fleet_whose_looks_fail_once_its_turn_has_come_takes_no_place() -> None:
    """It keeps its turn: if a look goes well, it begins."""
    queue = pacing()
    queue.see(key(1), replace(WAITING, wave=1), 0.0)
    queue.see(key(2), replace(WAITING, wave=2), 0.0)
    assert queue.admit(0.0) == [key(1)]
    queue.pass_over(key(1))
    assert queue.admit(1.0) == [key(2)]
    assert queue.turn(key(1))
    queue.see(key(1), replace(ROLLING, wave=1), 2.0)
    queue.see(key(2), replace(DONE, wave=2), 2.0)
    queue.see(key(3), replace(WAITING, wave=3), 2.0)
    assert queue.admit(2.0) == []


def test_a_stopped_upgrade_is_told_to_whom_it_concerns_and_once() -> None:
    """The fleet that went wrong hears it, and those that wait; so they do when it is over."""
    queue = pacing()
    for number in range(3):
        queue.see(key(number), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    assert queue.judge(0.0) == set()
    queue.see(key(0), replace(ROLLING, ready=False), 1.0)
    assert queue.judge(1.0) == {key(0), key(1), key(2)}
    assert queue.judge(2.0) == set()
    assert queue.word(key(0)).wrong
    assert "fleet mail/fleet-000 did not become Ready" in queue.word(key(1)).stopped
    queue.see(key(0), DONE, 3.0)
    assert not queue.word(key(0)).wrong
    assert queue.judge(3.0) == {key(0), key(1), key(2)}
    assert queue.word(key(1)) == Word(turn=False)


def test_what_passes_is_told_to_nobody() -> None:
    """An ill cluster gets no write for each fleet; what was said before stays said."""
    queue = pacing()
    queue.expect([key(0)])
    queue.see(key(1), WAITING, 0.0)
    assert queue.judge(0.0) == set()
    queue.see(key(0), WAITING, 0.0)
    assert queue.admit(0.0) == [key(0)]
    queue.see(key(0), replace(ROLLING, ready=False), 1.0)
    queue.see(key(1), BROKEN, 1.0)
    assert queue.halt(1.0) is Halt.ILL
    assert queue.judge(1.0) == set()
    assert queue.word(key(1)).stopped == ""
    queue.see(key(1), WAITING, 2.0)
    assert queue.judge(2.0) == {key(0), key(1)}


def test_a_hold_is_told_from_the_start() -> None:
    """It is a setting, so nobody has to be woken for it."""
    queue = pacing(hold=True)
    queue.see(key(0), WAITING, 0.0)
    assert "ROLLOUT_HOLD" in queue.word(key(0)).stopped
    assert queue.judge(0.0) == set()
