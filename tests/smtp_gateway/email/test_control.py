"""Control headers: acted on, noted, or refused; never dropped, never delivered."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_gateway.email.control import (
    OWN,
    PROVIDER_SPACES,
    Instructions,
    Row,
    choose_tags,
    read_instructions,
    write_tag,
)
from smtp_gateway.email.headers import Field
from smtp_gateway.errors import HeaderInvalid
from smtp_gateway.policy import EmailType, Policy, Tracking


def read(*lines: str) -> Instructions:
    """Instructions of header lines."""
    pairs = [line.partition(":") for line in lines]
    return read_instructions([Field(n, n.lower(), v.strip(" \t")) for n, _, v in pairs])


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("X-Email-API-Type: MARKETING", "email_type", EmailType.MARKETING),
        ("X-Email-API-Type: transactional", "email_type", EmailType.TRANSACTIONAL),
        ("X-List-Id: 42", "list_id", 42),
        ("X-Account-Id: 007", "account_id", 7),
        ("X-Sender-Id: abc-1", "sender_id", "abc-1"),
        ("X-Track-Opens: Yes", "opens", True),
        ("X-Track-Opens: off", "opens", False),
        ("X-Track-Clicks-Html: 1", "clicks_html", True),
        ("X-Track-Clicks-Text: N", "clicks_text", False),
        ("Idempotency-Key: k", "idempotency_key", "k"),
        ("Resend-Idempotency-Key: k", "idempotency_key", "k"),
        ("X-EE-Idempotency-Key: " + "k" * 256, "idempotency_key", "k" * 256),
        ("X-List-Id: =?utf-8?q?42?=", "list_id", 42),
        ("x-LIST-id: 42", "list_id", 42),
    ],
)
def test_a_header_sets_its_field(line: str, attribute: str, value: Any) -> None:
    """Names in any case, values decoded and trimmed."""
    assert getattr(read(line), attribute) == value


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("X-Email-API-Type: bulk", "X-Email-API-Type"),
        ("x-list-id: 0", "X-List-Id"),
        ("X-List-Id: -1", "X-List-Id"),
        ("X-List-Id: 1.0", "X-List-Id"),
        ("X-List-Id: \u0661", "X-List-Id"),
        ("X-Account-Id: own", "X-Account-Id"),
        ("X-Track-Opens: maybe", "X-Track-Opens"),
        ("X-Track-Clicks-Html: 2", "X-Track-Clicks-Html"),
        ("X-Track-Clicks-Text: truthy", "X-Track-Clicks-Text"),
        ("X-Sender-Id: =?utf-8?q?a=0Ab?=", "X-Sender-Id"),
        ("X-Tags: a\0b", "X-Tags"),
        ("X-EE-Idempotency-Key: " + "k" * 257, "X-EE-Idempotency-Key"),
    ],
)
def test_a_value_that_cannot_be_obeyed_refuses_the_message(line: str, header: str) -> None:
    """The refusal names the header as the documentation spells it."""
    with pytest.raises(HeaderInvalid) as refusal:
        read(line)
    assert refusal.value.facts["header"] == header


@pytest.mark.trap(36)
@pytest.mark.parametrize("space", PROVIDER_SPACES)
def test_a_provider_that_is_not_known_yet_refuses_the_message(space: str) -> None:
    """Nothing that steers is dropped silently; the refusal names it as it was sent."""
    with pytest.raises(HeaderInvalid) as refusal:
        read(f"{space.title()}Thing: x")
    assert refusal.value.facts == {
        "header": f"{space.title()}Thing",
        "reason": "this control header is not supported",
    }


@pytest.mark.parametrize(
    "name", ["X-MT-Category", "X-Custom-Id", "List-Id", "Resent-From", "X-PM", "X-Mailer"]
)
def test_an_ordinary_header_is_none_of_ours(name: str) -> None:
    """It neither steers nor is consumed."""
    found = read(f"{name}: x")
    assert (found.consumed, found.noted) == (set(), [])


def test_every_documented_header_is_consumed() -> None:
    """None of them reaches a recipient."""
    values = {"x-email-api-type": "marketing"}
    for key in OWN:
        assert read(f"{key}: {values.get(key, '1')}").consumed == {key}


def test_the_first_copy_counts_and_the_others_are_noted_unread() -> None:
    """But all X-Tags count."""
    found = read("X-List-Id: 1", "X-List-Id: nonsense", "X-Tags: a", "X-Tags: b")
    assert found.list_id == 1
    assert [tag for _, tag in found.tags] == ["a", "b"]
    assert found.noted == ["X-List-Id"]


def test_an_empty_value_is_noted_and_otherwise_absent() -> None:
    """The next copy of the header counts."""
    found = read("X-List-Id:", "X-List-Id: 5", "X-Tags:", "X-PM-Tag:")
    assert found.list_id == 5
    assert found.noted == ["X-List-Id", "X-Tags", "X-PM-Tag"]


def test_the_switch_of_the_old_relay_is_noted() -> None:
    """Every mail goes to the Email API, whatever it says."""
    assert read("X-Email-API-Enabled: false").noted == ["X-Email-API-Enabled"]


def test_the_first_fault_in_the_order_of_the_message_decides() -> None:
    """A contradiction comes behind all faults of single headers."""
    with pytest.raises(HeaderInvalid) as refusal:
        read("Idempotency-Key: a", "X-EE-Idempotency-Key: b", "X-List-Id: x", "X-Account-Id: y")
    assert refusal.value.facts["header"] == "X-List-Id"


def test_two_idempotency_headers_may_not_contradict() -> None:
    """Equal values are fine."""
    assert read("Idempotency-Key: a", "X-EE-Idempotency-Key: a").idempotency_key == "a"
    with pytest.raises(HeaderInvalid) as refusal:
        read("Idempotency-Key: a", "X-EE-Idempotency-Key: b")
    assert refusal.value.facts["reason"] == "contradicts another idempotency header"


def test_another_table_brings_another_provider() -> None:
    """A listed name of a provider's space is obeyed instead of refused."""

    def tag(instructions: Instructions, header: str, value: str) -> None:
        instructions.tags.append((header, value))

    table = {**OWN, "x-pm-tag": Row("X-PM-Tag", tag)}
    found = read_instructions([Field("X-PM-TAG", "x-pm-tag", "welcome")], table)
    assert found.tags == [("X-PM-Tag", "welcome")]


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Example Category", "Example-Category"),
        ("café", "cafe"),
        ("a=b", "a-b"),
        ("  trimmed ", "trimmed"),
        ("under_score-1", "under_score-1"),
        ("Ⅷ", "VIII"),
        ("日本", ""),
        ("日本 1", "---1"),
        ("!?", ""),
        ("t" * 300, "t" * 255),
    ],
)
def test_a_tag_is_written_in_the_alphabet_of_the_api(text: str, tag: str) -> None:
    """NFKD, marks removed, other characters a hyphen, at most 255, never without a letter."""
    assert write_tag(text) == tag


def test_tags_keep_their_order_and_twenty_of_them_count() -> None:
    """Duplicates go silently, the rest is noted, the operator's come last."""
    found = read("X-Tags: b, a, b, !!", "X-Group-Id: 7", "X-Tags: " + ",".join(map(str, range(30))))
    tags = choose_tags(found, Policy(tags=("a", "ours")))
    assert tags == ("b", "a", "group-7", *map(str, range(17)), "ours")
    assert set(found.noted) == {"X-Tags"}
    assert len(found.noted) == 14


def test_each_tracking_field_is_decided_for_itself() -> None:
    """A header, else the operator's setting."""
    found = read("X-Track-Opens: no", "X-Track-Clicks-Text: yes")
    policy = Tracking(opens=True, clicks_html=True, clicks_text=False)
    assert found.tracking(policy) == Tracking(opens=False, clicks_html=True, clicks_text=True)
