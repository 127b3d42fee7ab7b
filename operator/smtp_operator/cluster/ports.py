"""The ports of a Service are ours alone.

Server-side apply merges them by port and protocol, so a port that somebody changed by hand counts
as one of theirs: it stays, and its name, which ours has too, makes the API server refuse what we
apply. So theirs is renamed out of the way, ours applied, theirs removed; in this order, since a
Service may not be without ports, and in JSON patches (RFC 6902), since only those take away what
another manager owns. A removal leaves no claim of ours behind, as replacing the list would.
"""

from __future__ import annotations

from typing import Any

from smtp_operator.cluster.api import Object

KIND = "Service"

Patch = list[dict[str, Any]]


def renaming(live: Object, wanted: Object) -> Patch:
    """Give foreign ports names that no listener has; empty when there are none."""
    return [
        step
        for index, port in _foreign(live, wanted)
        for step in (
            {"op": "test", "path": f"/spec/ports/{index}/port", "value": port["port"]},
            {"op": "add", "path": f"/spec/ports/{index}/name", "value": _free_name(port)},
        )
    ]


def removal(live: Object, wanted: Object) -> Patch:
    """Take foreign ports away, the last first, so that places stay right; empty without any."""
    return [
        step
        for index, port in reversed(_foreign(live, wanted))
        for step in (
            {"op": "test", "path": f"/spec/ports/{index}/port", "value": port["port"]},
            {"op": "remove", "path": f"/spec/ports/{index}"},
        )
    ]


def _foreign(live: Object, wanted: Object) -> list[tuple[int, Object]]:
    ours = {_key(port) for port in wanted["spec"]["ports"]}
    return [
        (index, port)
        for index, port in enumerate(live["spec"].get("ports") or [])
        if _key(port) not in ours
    ]


def _key(port: Object) -> tuple[int, str]:
    return port["port"], port.get("protocol", "TCP")


def _free_name(port: Object) -> str:
    """Longer than the 15 characters that a listener's name may have."""
    return f"not-from-the-operator-{port['port']}-{port.get('protocol', 'TCP').lower()}"
