"""One immutable snapshot of what may change while the gateway runs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from smtp_gateway.policy import EmailType, Policy, PolicyHolder, Tracking


def test_a_policy_cannot_be_changed_in_place() -> None:
    """Whoever holds a snapshot holds the same values until the end."""
    policy = Policy()
    field = "max_recipients"

    with pytest.raises(FrozenInstanceError):
        setattr(policy, field, 5)


def test_nothing_is_tracked_unless_somebody_asks() -> None:
    """The API takes absent for true, so the default here is what a sender wrote, untouched."""
    assert Policy().tracking == Tracking(opens=False, clicks_html=False, clicks_text=False)
    assert Policy().email_type is EmailType.TRANSACTIONAL


def test_a_holder_gives_the_new_snapshot_and_leaves_the_old_one_alone() -> None:
    """A transaction that took the old one goes on with it."""
    holder = PolicyHolder(Policy(max_recipients=100))
    taken = holder.current
    holder.current = replace(taken, max_recipients=5)

    assert taken.max_recipients == 100
    assert holder.current.max_recipients == 5
