"""A file of settings that is read again when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.live import LiveFile
from smtp_gateway.settings import Settings

REQUIRED = {"CAKEMAIL_API_URL": "https://api.cakemail.test"}


class Taker:
    """Takes settings, unless they have more than a hundred mails a minute."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refused: list[list[str]] = []

    def accept(self, settings: Settings) -> None:
        """See ``LiveFile``."""
        if settings.rate_limit_per_ip > 100:
            raise ConfigurationError(["too many"])
        self.taken.append(settings.rate_limit_per_ip)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A live file."""
    path = tmp_path / "live.env"
    path.write_text("RATE_LIMIT_PER_IP=1\n", encoding="ascii")
    return path


@pytest.fixture
def taker() -> Taker:
    """Somebody who uses the settings."""
    return Taker()


@pytest.fixture
def live(path: Path, taker: Taker) -> LiveFile:
    """The file, loaded."""
    made = LiveFile(path, REQUIRED, accept=taker.accept, on_refused=taker.refused.append)
    made.load()
    return made


def test_a_change_is_taken_once(live: LiveFile, path: Path, taker: Taker) -> None:
    """A poll without a change does nothing."""
    before = live.digest
    assert live.poll() is False
    path.write_text("RATE_LIMIT_PER_IP=2\n", encoding="ascii")
    assert live.poll() is True
    assert live.poll() is False
    assert taker.taken == [1, 2]
    assert live.digest != before


@pytest.mark.parametrize(
    "text", ["RATE_LIMIT_PER_IP=x\n", "RATE_LIMIT_PER_IP=101\n", "SMTP_PORT=1\n"]
)
def test_a_bad_change_is_told_once_and_leaves_all_as_it_was(
    live: LiveFile, path: Path, taker: Taker, text: str
) -> None:
    """Unreadable, refused by its user, or not changeable: the old settings stay."""
    before = live.digest
    path.write_text(text, encoding="ascii")
    assert (live.poll(), live.poll()) == (False, False)
    assert taker.taken == [1]
    assert len(taker.refused) == 1
    assert live.digest == before


def test_a_file_that_vanishes_leaves_all_as_it_was(
    live: LiveFile, path: Path, taker: Taker
) -> None:
    """A mount that is being replaced is no wish."""
    path.unlink()
    assert live.poll() is False
    assert (taker.taken, len(taker.refused)) == ([1], 1)


def test_a_swapped_link_is_a_change(tmp_path: Path, taker: Taker) -> None:
    """The kubelet swaps the link ``..data``; the path itself stays the same link."""
    for name, limit in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "live.env").write_text(f"RATE_LIMIT_PER_IP={limit}\n", encoding="ascii")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "live.env").symlink_to("..data/live.env")
    live = LiveFile(
        tmp_path / "live.env", REQUIRED, accept=taker.accept, on_refused=taker.refused.append
    )
    live.load()
    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert live.poll() is True
    assert taker.taken == [1, 2]


def test_a_start_with_a_bad_file_is_refused(path: Path, taker: Taker) -> None:
    """The first load raises; there is nothing to stay with."""
    path.write_text("HTTP_PORT=1\n", encoding="ascii")
    with pytest.raises(ConfigurationError, match="cannot change here"):
        LiveFile(path, REQUIRED, accept=taker.accept, on_refused=taker.refused.append).load()
