"""The frame of every child."""

from __future__ import annotations

from smtp_operator.resources.child import child, filled
from tests.support.fleets import a_gateway


def test_a_child_has_name_labels_and_owner() -> None:
    """And the body that it is given."""
    made = child(a_gateway(), "v1", "ConfigMap", "mail-live", data={"a": "b"})
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")
    assert made["metadata"]["name"] == "mail-live"
    assert made["metadata"]["namespace"] == "demo"
    assert made["metadata"]["ownerReferences"][0]["name"] == "mail"
    assert "annotations" not in made["metadata"]
    assert made["data"] == {"a": "b"}


def test_the_operator_s_labels_win_over_the_user_s() -> None:
    """Children are found by them."""
    theirs = {"app.kubernetes.io/managed-by": "me", "team": "mail"}
    labels = child(a_gateway(), "v1", "Service", "mail", labels=theirs)["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "smtp-operator"
    assert labels["team"] == "mail"


def test_fields_that_say_nothing_are_left_out_and_false_and_zero_say_something() -> None:
    """Server-side apply would own an empty field too."""
    made = filled(a=None, b="", c=[], d={}, e=(), f=False, g=0)
    assert made == {"f": False, "g": 0}
