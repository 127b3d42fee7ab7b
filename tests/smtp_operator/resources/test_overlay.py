"""``podTemplate`` is merged as the API's own strategic merge does it."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.resources.overlay import OverlayMalformed, merge

CASES: dict[str, tuple[Any, Any, Any]] = {
    "field by field": ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
    "null removes": ({"a": 1, "b": 2}, {"b": None}, {"a": 1}),
    "null of nothing": ({"a": 1}, {"b": None}, {"a": 1}),
    "containers by name": (
        {"containers": [{"name": "gateway", "image": "a", "args": ["x"]}]},
        {"containers": [{"name": "gateway", "image": "b"}, {"name": "sidecar", "image": "s"}]},
        {
            "containers": [
                {"name": "gateway", "image": "b", "args": ["x"]},
                {"name": "sidecar", "image": "s"},
            ]
        },
    ),
    "env by name": (
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "B", "value": "3"}]},
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]},
    ),
    "envFrom is appended": (
        {"envFrom": [{"configMapRef": {"name": "ours"}}]},
        {"envFrom": [{"secretRef": {"name": "theirs"}}]},
        {"envFrom": [{"configMapRef": {"name": "ours"}}, {"secretRef": {"name": "theirs"}}]},
    ),
    "mounts by path": (
        {"volumeMounts": [{"mountPath": "/data", "name": "scratch"}]},
        {"volumeMounts": [{"mountPath": "/data", "name": "big"}]},
        {"volumeMounts": [{"mountPath": "/data", "name": "big"}]},
    ),
    "ports by number and protocol": (
        {"ports": [{"containerPort": 2587, "protocol": "TCP", "name": "a"}]},
        {"ports": [{"containerPort": 2587, "name": "b"}, {"containerPort": 53, "protocol": "UDP"}]},
        {
            "ports": [
                {"containerPort": 2587, "protocol": "TCP", "name": "b"},
                {"containerPort": 53, "protocol": "UDP"},
            ]
        },
    ),
    "other lists are replaced": ({"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
    "what is new is taken": (
        {},
        {"hostAliases": [{"ip": "192.0.2.1"}]},
        {"hostAliases": [{"ip": "192.0.2.1"}]},
    ),
    "texts are replaced": ({"a": "1"}, {"a": "2"}, {"a": "2"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_laid_over_another(name: str) -> None:
    """By the table in ``overlay.py``."""
    base, over, wanted = CASES[name]
    assert merge(base, over) == wanted


def test_neither_side_is_changed() -> None:
    """The base is used again in the next pass."""
    base = {"containers": [{"name": "gateway", "env": [{"name": "A"}]}]}
    merge(base, {"containers": [{"name": "gateway", "env": [{"name": "B"}]}]})
    assert base == {"containers": [{"name": "gateway", "env": [{"name": "A"}]}]}


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"spec": {"containers": {}}}, "podTemplate.spec.containers must be a list"),
        ({"spec": {"securityContext": []}}, "podTemplate.spec.securityContext must be an object"),
        ({"spec": {"containers": ["x"]}}, "podTemplate.spec.containers must be a list of objects"),
        (
            {"spec": {"containers": [{"image": "x"}]}},
            "podTemplate.spec.containers: each element needs name",
        ),
        (
            {"spec": {"containers": [{"name": {"a": 1}}]}},
            "podTemplate.spec.containers: name must be a text or a number",
        ),
    ],
)
def test_another_shape_is_told_with_its_place(over: Any, sentence: str) -> None:
    """The schema lets any shape through."""
    base = {"spec": {"containers": [{"name": "gateway"}], "securityContext": {}}}
    with pytest.raises(OverlayMalformed) as error:
        merge(base, over)
    assert str(error.value) == sentence
