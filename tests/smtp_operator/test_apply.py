"""The full comparison: what counts as there. The flow around it is tested in ``test_reconcile``."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.apply import contains

LISTS = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]


@pytest.mark.parametrize(
    ("live", "wanted", "there"),
    [
        ({"a": 1, "added": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ("text", {"a": 1}, False),
        (LISTS, [{"name": "b", "x": 2}], True),
        (LISTS, [{"name": "b", "x": 3}], False),
        (LISTS, [{"name": "c"}], False),
        ([1, 2], [1, 2], True),
        ([2, 1], [1, 2], False),
        ([1, 2, 3], [1, 2], False),
        ([{"port": 25, "added": 1}], [{"port": 25}], True),
        (None, [1], False),
        (None, None, True),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, {"limits": {"cpu": "1000m"}}, True),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "500m"}}, False),
        ({"limits": {}}, {"limits": {"cpu": "500m"}}, False),
        ({"sizeLimit": "1Gi"}, {"sizeLimit": "1024Mi"}, True),
        ({"image": "1"}, {"image": "1000m"}, False),
    ],
)
def test_what_others_added_does_not_count(live: Any, wanted: Any, *, there: bool) -> None:
    """Wanted fields must be there; named items are found by name, quantities are numbers."""
    assert contains(live, wanted) is there
