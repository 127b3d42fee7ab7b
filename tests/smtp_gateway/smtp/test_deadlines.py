"""Deadlines as arithmetic on given times."""

from __future__ import annotations

from smtp_gateway.smtp.deadlines import Deadlines, UploadPace
from smtp_gateway.smtp.effects import Timeouts


def test_before_login_one_budget_for_everything() -> None:
    """Commands do not move it."""
    deadlines = Deadlines(Timeouts(before_login_seconds=300))
    deadlines.begin(10)
    deadlines.replied(200)
    assert deadlines.command_by(authenticated=False) == 310


def test_after_login_each_command_has_its_own() -> None:
    """RFC 5321 4.5.3.2.7."""
    deadlines = Deadlines(Timeouts(next_command_seconds=300))
    deadlines.begin(10)
    deadlines.replied(2000)
    assert deadlines.command_by(authenticated=True) == 2300


def test_an_answer_is_due_within_the_budget_too() -> None:
    """The smaller of both."""
    deadlines = Deadlines(Timeouts(before_login_seconds=300, auth_answer_seconds=60))
    deadlines.begin(0)
    deadlines.asked(100)
    assert deadlines.answer_by() == 160
    deadlines.asked(290)
    assert deadlines.answer_by() == 300


def test_under_stress_commands_are_due_sooner() -> None:
    """60 s in total, 10 s for each."""
    deadlines = Deadlines(Timeouts())
    deadlines.begin(0)
    deadlines.stressed = True
    assert deadlines.command_by(authenticated=False) == 10
    deadlines.replied(55)
    assert deadlines.command_by(authenticated=False) == 60


def test_the_first_window_is_free() -> None:
    """A slow start is no slow upload."""
    pace = UploadPace(Timeouts(), 0)
    assert all(pace.arrived(1, float(second)) for second in range(1, 30))


def test_a_window_is_judged_by_its_average() -> None:
    """8 KiB/s over 30 s, in whatever portions."""
    pace = UploadPace(Timeouts(), 0)
    verdicts = [pace.arrived(8192 * 2, float(second)) for second in range(2, 121, 2)]
    assert all(verdicts)
    pace = UploadPace(Timeouts(), 0)
    verdicts = [pace.arrived(8000 * 2, float(second)) for second in range(2, 61, 2)]
    assert verdicts[-1] is False
    assert all(verdicts[:-1])
