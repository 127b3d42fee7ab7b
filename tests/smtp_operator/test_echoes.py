"""Events of a write under way: held until its answer, then heard in order."""

from __future__ import annotations

from functools import partial

import pytest

from smtp_operator.echoes import Echoes

PLACE = ("Service", "mail", "alpha")


def test_what_comes_while_we_write_is_heard_afterwards() -> None:
    """In the order in which it came, and once."""
    echoes, heard = Echoes(), list[int]()
    with echoes.writing(PLACE):
        for number in (1, 2):
            assert echoes.hold(PLACE, partial(heard.append, number))
        assert heard == []
    assert heard == [1, 2]
    with echoes.writing(PLACE):
        pass
    assert heard == [1, 2]


def test_other_objects_are_heard_at_once() -> None:
    """As all are while nothing is written."""
    echoes = Echoes()
    assert not echoes.hold(PLACE, lambda: None)
    with echoes.writing(PLACE):
        assert not echoes.hold(("Service", "mail", "beta"), lambda: None)
    assert not echoes.hold(PLACE, lambda: None)


def test_a_failed_write_loses_no_event() -> None:
    """What was heard may be why it failed."""
    echoes, heard = Echoes(), list[str]()

    def write_and_fail() -> None:
        with echoes.writing(PLACE):
            echoes.hold(PLACE, lambda: heard.append("gone"))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        write_and_fail()
    assert heard == ["gone"]
