"""Foreign ports of a Service: which they are, and the patches against them."""

from __future__ import annotations

from typing import Any

from smtp_operator.cluster.ports import removal, renaming


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    """Enough of one."""
    return {"spec": {"ports": list(ports)}}


WANTED = service({"name": "submission", "port": 587, "protocol": "TCP"})
OURS = {"name": "submission", "port": 587, "protocol": "TCP", "nodePort": 30000}


def test_our_ports_need_no_patch() -> None:
    """Whatever the API server added to them."""
    assert renaming(service(OURS), WANTED) == []
    assert removal(service(OURS), WANTED) == []


def test_a_changed_port_is_renamed_out_of_the_way() -> None:
    """Only if it is still the one that was seen."""
    assert renaming(service({"name": "submission", "port": 2525, "protocol": "TCP"}), WANTED) == [
        {"op": "test", "path": "/spec/ports/0/port", "value": 2525},
        {
            "op": "add",
            "path": "/spec/ports/0/name",
            "value": "not-from-the-operator-2525-tcp",
        },
    ]


def test_foreign_ports_are_removed_from_the_last() -> None:
    """The same number of another protocol is another port."""
    live = service({"port": 25}, OURS, {"port": 587, "protocol": "UDP"})
    assert removal(live, WANTED) == [
        {"op": "test", "path": "/spec/ports/2/port", "value": 587},
        {"op": "remove", "path": "/spec/ports/2"},
        {"op": "test", "path": "/spec/ports/0/port", "value": 25},
        {"op": "remove", "path": "/spec/ports/0"},
    ]
