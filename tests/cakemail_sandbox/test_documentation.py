"""``docs/sandbox.md`` says what there is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cakemail_sandbox.deviations import Behaviour
from cakemail_sandbox.faults import Fault, Manner
from cakemail_sandbox.seed import load

TEXT = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")

SEED = load()
NAMES = {
    "users": [each.email for each in SEED.users],
    "access tokens": [each.token for each in SEED.access_tokens],
    "fault fields": list(Fault.model_fields),
    "manners": list(get_args(Manner)),
    "switches": list(Behaviour.model_fields),
}


@pytest.mark.parametrize("kind", list(NAMES))
def test_everything_that_can_be_used_is_described(kind: str) -> None:
    """Each name stands in the page as code."""
    assert [name for name in NAMES[kind] if f"`{name}`" not in TEXT] == []
