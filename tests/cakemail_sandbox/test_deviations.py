"""The written list of what the published document does not say."""

from __future__ import annotations

from cakemail_sandbox.contract import published
from cakemail_sandbox.deviations import DEVIATIONS, Behaviour, with_extra_responses


def test_every_switch_stands_in_the_list() -> None:
    """A behaviour that nobody wrote down would pass for the contract."""
    named = " ".join(each.switch for each in DEVIATIONS)

    assert [name for name in Behaviour.model_fields if name not in named] == []


def test_the_widened_contract_lists_401_everywhere() -> None:
    """And leaves the published one as it is."""
    plain = published().document
    wide = with_extra_responses(dict(plain))

    assert all(
        "401" in operation["responses"]
        for operations in wide["paths"].values()
        for operation in operations.values()
    )
    assert "401" not in plain["paths"]["/lists"]["get"]["responses"]
