"""The frame that every child has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.fleet.names import metadata


def child(
    gateway: Gateway,
    api_version: str,
    kind: str,
    name: str,
    *,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **body: Any,
) -> Object:
    """One object. ``labels`` are the user's: the operator's own win over them."""
    meta = metadata(gateway, name, annotations=annotations)
    meta["labels"] = {**(labels or {}), **meta["labels"]}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **body}


def filled(**fields: Any) -> Object:
    """Fields that have something to say; server-side apply would own the empty ones too."""
    return {name: value for name, value in fields.items() if value not in (None, "", (), [], {})}
