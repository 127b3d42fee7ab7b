"""One process at a time is at work on a run, and a dead one never stands in the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.ownership import InUse, Ownership, known_names
from tests.cluster.settings import Run, node_address

NAME = f"ownership-{os.getpid()}"


@pytest.fixture
def owner() -> Iterator[Ownership]:
    """It, whatever the test leaves of it."""
    owner = Ownership(NAME)
    yield owner
    owner.acquire()
    owner.forget()


@contextmanager
def held_by_another() -> Iterator[None]:
    """A second owner; locks are per open file, so one process can hold both."""
    other = Ownership(NAME)
    other.acquire()
    yield
    other.release()


def test_only_one_owns_a_run(owner: Ownership) -> None:
    """The second is refused, by name."""
    with held_by_another(), pytest.raises(InUse, match=f"cluster {NAME} belongs to a process"):
        owner.acquire()


def test_what_is_given_up_can_be_taken(owner: Ownership) -> None:
    """A released lock holds nobody."""
    with held_by_another():
        pass

    owner.acquire()
    owner.acquire()  # its own again is no conflict

    assert NAME in known_names()


def test_what_is_forgotten_leaves_no_trace(owner: Ownership) -> None:
    """A run that was ended in order is not swept again."""
    owner.acquire()

    owner.forget()

    assert NAME not in known_names()


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a" * 32, "1st"])
def test_a_name_of_a_run_is_a_plain_word(name: str) -> None:
    """It becomes part of paths and of control groups."""
    with pytest.raises(ValueError, match="run name"):
        Run(name)


@pytest.mark.parametrize("number", [0, 201])
def test_there_is_room_for_two_hundred_nodes(number: int) -> None:
    """The network of a run ends there."""
    with pytest.raises(ValueError, match="between 1 and 200"):
        node_address(number)
