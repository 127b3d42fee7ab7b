"""Mails a minute per client address, with a given clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.errors import RateLimited
from smtp_gateway.smtp.limits import MailRate, Recent, network_of
from tests.support.fakes import GivenClock

HERE = "192.0.2.7"


def took(rate: MailRate, address: str, limit: int) -> bool:
    """Whether the mail was taken."""
    try:
        rate.take(address, limit)
    except RateLimited:
        return False
    return True


def test_the_limit_is_reached_exactly() -> None:
    """Of 250 mails at once 100 are taken, whoever is first."""
    rate = MailRate(GivenClock())
    assert sum(took(rate, HERE, 100) for _ in range(250)) == 100


def test_a_refusal_tells_when_to_come_again() -> None:
    """The oldest mail leaves the minute first, and then there is room for one."""
    clock = GivenClock()
    rate = MailRate(clock)
    rate.take(HERE, 2)
    clock.advance(45)
    rate.take(HERE, 2)
    with pytest.raises(RateLimited) as refusal:
        rate.take(HERE, 2)
    assert refusal.value.facts == {"seconds": 16}
    clock.advance(16)
    assert [took(rate, HERE, 2), took(rate, HERE, 2)] == [True, False]


def test_refused_mails_do_not_count() -> None:
    """A client that knocks all the time still gets its rate."""
    clock = GivenClock()
    rate = MailRate(clock)
    rate.take(HERE, 1)
    taken = []
    for _ in range(121):
        clock.advance(0.5)
        taken.append(took(rate, HERE, 1))
    assert taken == [False] * 120 + [True]


def test_one_address_does_not_feel_another() -> None:
    """Each client has its own minute."""
    rate = MailRate(GivenClock())
    rate.take(HERE, 1)
    assert took(rate, "192.0.2.8", 1)
    assert not took(rate, HERE, 1)


def test_zero_is_no_limit() -> None:
    """The setting's way to say: never."""
    rate = MailRate(GivenClock())
    assert all(took(rate, HERE, 0) for _ in range(1000))


def test_a_lowered_limit_counts_at_once() -> None:
    """The policy may change between two mails."""
    rate = MailRate(GivenClock())
    for _ in range(5):
        rate.take(HERE, 10)
    assert not took(rate, HERE, 3)


@pytest.mark.trap(24)
@given(
    pauses=st.lists(st.floats(0, 40, allow_nan=False), max_size=60),
    limit=st.integers(1, 5),
)
def test_no_minute_ever_holds_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """Wherever the sixty seconds begin."""
    clock = GivenClock(0.0)
    rate = MailRate(clock)
    taken: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        if took(rate, HERE, limit):
            taken.append(clock.now)
    for start in taken:
        assert sum(start <= at < start + 60 for at in taken) <= limit


@given(pauses=st.lists(st.floats(0, 40, allow_nan=False), max_size=40))
def test_whoever_waits_as_told_is_taken(pauses: list[float]) -> None:
    """The seconds in the reply are enough."""
    clock = GivenClock(0.0)
    rate = MailRate(clock)
    for pause in pauses:
        clock.advance(pause)
        try:
            rate.take(HERE, 3)
        except RateLimited as refusal:
            clock.advance(float(refusal.facts["seconds"]))
            rate.take(HERE, 3)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_what_counts_as_one_client(address: str, network: str) -> None:
    """An IPv4 address, or an IPv6 /64."""
    assert network_of(address) == network


def test_the_least_recently_used_leaves_first() -> None:
    """Reading an entry keeps it."""
    recent: Recent[str] = Recent(2)
    recent.put("a", "1")
    recent.put("b", "2")
    assert recent.get("a") == "1"
    recent.put("c", "3")
    assert [recent.get(key) for key in "abc"] == ["1", None, "3"]
    assert len(recent) == 2
