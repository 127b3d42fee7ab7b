"""Rules between fields, on the examples that the API server is asked about too."""

from __future__ import annotations

import pytest

from smtp_operator.errors import SpecInvalid
from smtp_operator.fleet.rules import amount, name_fits
from smtp_operator.fleet.spec import check_name, read_spec
from tests.support.smtpgateway import MINIMAL, Example, examples


@pytest.mark.parametrize("example", [e for e in examples() if e.accepted], ids=str)
def test_a_good_example_is_accepted(example: Example) -> None:
    """Every rule has something that passes it."""
    check_name(example.name)
    read_spec(example.spec)


@pytest.mark.parametrize("example", [e for e in examples() if not e.accepted], ids=str)
def test_a_bad_example_is_refused_with_path_and_message(example: Example) -> None:
    """One fault, at the field that has to change, in the words of the CRD."""
    with pytest.raises(SpecInvalid) as refusal:
        _check(example)

    assert refusal.value.detail == f"{example.at}: {example.message}"


def _check(example: Example) -> None:
    check_name(example.name)
    read_spec(example.spec)


def test_two_listeners_of_one_name_are_refused() -> None:
    """Their list is a map by name; the API server says so in its own words."""
    listeners = [{"name": "smtp", "port": 25}, {"name": "smtp", "port": 2526}]

    with pytest.raises(SpecInvalid) as refusal:
        read_spec({**MINIMAL, "listeners": listeners})

    assert refusal.value.detail == "spec.listeners: two listeners have the same name"


def test_all_broken_rules_are_told_at_once() -> None:
    """Nobody has to apply twice to see the second fault."""
    with pytest.raises(SpecInvalid) as refusal:
        read_spec({**MINIMAL, "rollout": {"maxSurge": 0}, "autoscaling": {"maxReplicas": 1}})

    assert refusal.value.detail == (
        "spec.autoscaling.minReplicas: minReplicas exceeds maxReplicas; "
        "spec.rollout: one of maxSurge and maxUnavailable must be above 0"
    )


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        (2, "2"), ("500m", "0.5"), ("1.5", "1.5"), (".5", "0.5"), ("1Ki", "1024"),
        ("1Mi", "1048576"), ("2Gi", "2147483648"), ("1k", "1000"), ("3M", "3000000"),
        ("5u", "0.000005"), ("7n", "0.000000007"), ("2e3", "2000"), ("2E-1", "0.2"), ("1E", "1e18"),
        ("1Ei", "1152921504606846976"),
    ],
)  # fmt: skip
def test_a_quantity_is_a_number(quantity: int | str, number: str) -> None:
    """All forms of the API's grammar that a resource may have."""
    assert amount(quantity) == amount(number)
    assert f"{amount(quantity).normalize():f}" == f"{float(number):.9f}".rstrip("0").rstrip(".")


def test_what_is_no_quantity_is_an_error() -> None:
    """It cannot come this far in a spec that was read."""
    with pytest.raises(ValueError, match="not a quantity"):
        amount("1 Gi")


@pytest.mark.parametrize(
    ("name", "fits"), [("a", True), ("a" * 40, True), ("a" * 41, False), ("a-", False), ("", False)]
)
def test_a_name_leaves_room_for_what_children_add(name: str, fits: bool) -> None:  # noqa: FBT001  # a column
    """40 characters, so that a child's name stays within 63."""
    assert name_fits(name) is fits
