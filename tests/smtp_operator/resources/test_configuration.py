"""The two ConfigMaps."""

from __future__ import annotations

from smtp_operator.resources.configuration import live_config, start_config
from smtp_operator.resources.rendering import draft
from tests.support.fleets import a_gateway, some_facts


def test_the_start_configuration_is_immutable_and_named_after_its_content() -> None:
    """Another content, another name: a pod of the old revision finds the old one."""
    one, two = a_gateway(), a_gateway(hostname="smtp.example.com")
    first = start_config(one, draft(one, some_facts()))
    second = start_config(two, draft(two, some_facts()))
    assert first["immutable"] is True
    assert first["metadata"]["name"].startswith("mail-start-")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert second["data"]["SMTP_HOSTNAME"] == "smtp.example.com"


def test_the_live_configuration_keeps_its_name_and_tells_its_hash() -> None:
    """Pods that run mount it."""
    one, two = a_gateway(), a_gateway(limits={"maxRecipients": 5})
    first, second = draft(one, some_facts()), draft(two, some_facts())
    assert first.config_hash != second.config_hash
    assert first.target_revision == second.target_revision
    made = live_config(two, second)
    assert made["metadata"]["name"] == "mail-live"
    assert made["metadata"]["annotations"] == {"smtp.cakemail.com/config": second.config_hash}
    assert made["data"] == {"live.env": second.live}
