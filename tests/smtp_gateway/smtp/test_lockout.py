"""Distinct wrong credentials per client, in windows of a given clock."""

from __future__ import annotations

import asyncio

import pytest

from smtp_gateway.errors import LockedOut
from smtp_gateway.policy import LockoutRules
from smtp_gateway.smtp.lockout import Lockout
from tests.support.fakes import GivenClock, until

HERE = "192.0.2.7"
THERE = "198.51.100.9"


async def wrong(lockout: Lockout, password: str, *, user: str = "a@x.test", at: str = HERE) -> None:
    """One question whose answer is no."""
    with await lockout.attempt(at, user, password) as attempt:
        attempt.was_wrong()


async def right(lockout: Lockout, password: str, *, user: str = "a@x.test", at: str = HERE) -> None:
    """One question whose answer is yes."""
    with await lockout.attempt(at, user, password) as attempt:
        attempt.was_right()


@pytest.mark.trap(25)
async def test_one_wrong_password_tried_a_thousand_times_is_one() -> None:
    """A program with a stale password never locks itself out."""
    lockout = Lockout(GivenClock())
    for _ in range(1000):
        await wrong(lockout, "stale")
    await right(lockout, "good")


@pytest.mark.trap(25)
async def test_the_sixth_distinct_password_for_one_user_name_is_locked_out() -> None:
    """Five are borne; the sixth is not even asked, right or wrong."""
    clock = GivenClock()
    lockout = Lockout(clock)
    for n in range(5):
        await wrong(lockout, f"guess {n}")
    with pytest.raises(LockedOut) as refusal:
        await lockout.attempt(HERE, "a@x.test", "guess 5")
    assert refusal.value.facts == {"seconds": 900}


async def test_a_lock_lasts_fifteen_minutes() -> None:
    """It tells the seconds that are left, and ends."""
    clock = GivenClock()
    lockout = Lockout(clock)
    for n in range(5):
        await wrong(lockout, f"guess {n}")
    with pytest.raises(LockedOut):
        await lockout.attempt(HERE, "a@x.test", "guess 5")
    clock.advance(899)
    with pytest.raises(LockedOut) as refusal:
        await lockout.attempt(HERE, "a@x.test", "good")
    assert refusal.value.facts == {"seconds": 1}
    clock.advance(1)
    await right(lockout, "good")


async def test_wrong_credentials_count_for_ten_minutes() -> None:
    """The window slides: the first of five has left it when the sixth comes."""
    clock = GivenClock()
    lockout = Lockout(clock)
    for n in range(5):
        await wrong(lockout, f"guess {n}")
        clock.advance(120)
    await wrong(lockout, "guess 5")
    with pytest.raises(LockedOut):
        await lockout.attempt(HERE, "a@x.test", "guess 6")


async def test_known_wrong_ones_may_be_repeated_while_no_lock_stands() -> None:
    """Five counted passwords fill the count; repeating one of them is answered as before."""
    lockout = Lockout(GivenClock())
    for n in range(5):
        await wrong(lockout, f"guess {n}")
    await wrong(lockout, "guess 0")


async def test_a_password_that_turns_right_is_no_longer_counted() -> None:
    """Whoever sets the password back to an earlier guess has one place more."""
    lockout = Lockout(GivenClock())
    for n in range(5):
        await wrong(lockout, f"guess {n}")
    await right(lockout, "guess 0")
    await wrong(lockout, "guess 5")


async def test_many_user_names_from_one_address_are_locked_out_together() -> None:
    """Fifty distinct credentials of any user names; another address is not touched."""
    lockout = Lockout(GivenClock())
    for n in range(50):
        await wrong(lockout, "same", user=f"user{n}@x.test")
    with pytest.raises(LockedOut):
        await lockout.attempt(HERE, "user50@x.test", "same")
    await right(lockout, "same", user="user50@x.test", at=THERE)


@pytest.mark.trap(26)
async def test_trap_26_a_lock_is_no_weapon_against_the_owner() -> None:
    """The attacker is locked out; the owner of the user name logs in from elsewhere."""
    lockout = Lockout(GivenClock())
    for n in range(5):
        await wrong(lockout, f"guess {n}")
    with pytest.raises(LockedOut):
        await lockout.attempt(HERE, "a@x.test", "guess 5")
    await right(lockout, "good", at=THERE)
    await right(lockout, "other", user="b@x.test")


async def test_an_ipv6_host_cannot_hide_in_its_own_network() -> None:
    """All addresses of one /64 are one client; the next /64 is another."""
    lockout = Lockout(GivenClock())
    for n in range(5):
        await wrong(lockout, f"guess {n}", at=f"2001:db8:0:1::{n:x}")
    with pytest.raises(LockedOut):
        await lockout.attempt("2001:db8:0:1:ffff::1", "a@x.test", "guess 5")
    await right(lockout, "good", at="2001:db8:0:2::1")


@pytest.mark.trap(24)
async def test_trap_24_parallel_guesses_get_no_further_than_one_after_the_other() -> None:
    """Two hundred at once against a limit of ten: ten are answered, the rest is locked out."""
    lockout = Lockout(GivenClock(), LockoutRules(per_user_name=10))
    answered: list[str] = []
    answer = asyncio.Event()

    async def guess(password: str) -> None:
        with await lockout.attempt(HERE, "a@x.test", password) as attempt:
            answered.append(password)
            await answer.wait()
            attempt.was_wrong()

    async def answer_all() -> None:
        await until(lambda: len(answered) == 10)
        answer.set()

    async with asyncio.timeout(10):
        guesses = [guess(f"guess {n}") for n in range(200)]
        results = await asyncio.gather(answer_all(), *guesses, return_exceptions=True)
    assert len(answered) == 10
    assert sum(isinstance(result, LockedOut) for result in results) == 190


async def test_a_cold_start_of_many_customers_behind_one_address_locks_nobody() -> None:
    """Open questions only wait for one another; right passwords all get in."""
    lockout = Lockout(GivenClock(), LockoutRules(per_address=10))
    most = 0
    open_now = 0

    async def log_in(user: str) -> None:
        nonlocal most, open_now
        with await lockout.attempt(HERE, user, "good") as attempt:
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0)
            open_now -= 1
            attempt.was_right()

    async with asyncio.timeout(10):
        await asyncio.gather(*(log_in(f"user{n}@x.test") for n in range(200)))
    assert most == 10


async def test_sessions_with_one_credential_share_one_place() -> None:
    """A pool of connections that logs in at once holds a single place."""
    lockout = Lockout(GivenClock(), LockoutRules(per_user_name=1))
    first = await lockout.attempt(HERE, "a@x.test", "good")
    second = await lockout.attempt(HERE, "a@x.test", "good")
    with first, second:
        first.was_right()


async def test_a_fault_of_the_api_counts_for_nothing() -> None:
    """A question without an answer gives its place back."""
    lockout = Lockout(GivenClock(), LockoutRules(per_user_name=1))
    for n in range(5):
        with pytest.raises(ConnectionError), await lockout.attempt(HERE, "a@x.test", f"guess {n}"):
            raise ConnectionError
    await right(lockout, "good")


async def test_memory_is_bounded_and_the_oldest_leave_first() -> None:
    """Beyond the capacity the least recently seen counts are forgotten."""
    lockout = Lockout(GivenClock(), LockoutRules(per_user_name=1), capacity=4)
    await wrong(lockout, "guess", user="a@x.test", at="192.0.2.1")
    await wrong(lockout, "guess", user="a@x.test", at="192.0.2.2")
    with pytest.raises(LockedOut):
        await lockout.attempt("192.0.2.1", "a@x.test", "other")
    await wrong(lockout, "guess", user="a@x.test", at="192.0.2.3")
    with pytest.raises(LockedOut):
        await lockout.attempt("192.0.2.1", "a@x.test", "other")
    await right(lockout, "other", user="a@x.test", at="192.0.2.2")


async def test_parts_of_a_credential_cannot_be_shifted() -> None:
    """User `ab` with password `c` is not user `a` with password `bc`."""
    lockout = Lockout(GivenClock(), LockoutRules(per_address=1))
    await wrong(lockout, "c", user="ab")
    with pytest.raises(LockedOut):
        await lockout.attempt(HERE, "a", "bc")


async def test_rules_may_change_while_it_runs() -> None:
    """What was counted before is held to the new ones, by counts that exist already."""
    lockout = Lockout(GivenClock())
    for n in range(3):
        await wrong(lockout, f"guess {n}")
    lockout.rules = LockoutRules(per_user_name=3, lock_seconds=60)
    with pytest.raises(LockedOut) as refusal:
        await lockout.attempt(HERE, "a@x.test", "guess 3")
    assert refusal.value.facts == {"seconds": 60}


async def test_a_larger_limit_keeps_fewer_clients() -> None:
    """Memory is bounded by credentials: with a thousand each, a thousand counts are kept."""
    lockout = Lockout(GivenClock(), LockoutRules(per_user_name=1, per_address=1000))
    await wrong(lockout, "guess")
    for n in range(1000):
        await right(lockout, "good", at=f"10.0.{n // 250}.{n % 250}")
    await right(lockout, "another")  # the count of HERE has left
