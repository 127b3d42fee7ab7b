"""One SmtpGateway as the decision sees it: the wish, and what the cluster holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from smtp_operator.fleet.spec import Spec

Object = dict[str, Any]  # as the API server speaks: JSON
OPTIONAL_KINDS = ("Certificate", "ServiceMonitor", "PrometheusRule")


class Key(NamedTuple):
    """What a queue holds: one SmtpGateway."""

    namespace: str
    name: str


class Ref(NamedTuple):
    """One object in the gateway's namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """The user's object, its spec read and defaulted.

    Attributes:
        key: namespace and name.
        uid: for owner references.
        generation: of the spec.
        annotations: the user's; only ``smtp.cakemail.com/approve`` is read.
        spec: typed.
        status: as last written, {} at first.
    """

    key: Key
    uid: str
    generation: int
    spec: Spec
    annotations: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What ``observe`` read, once.

    Attributes:
        children: live objects of this gateway's, by kind and name.
        strangers: names that we would use and that somebody else owns.
        secrets: of each referenced Secret its data, None when it is not there. It lives as long
            as one reconcile and is never logged.
        config_maps: of each referenced ConfigMap its data, None when it is not there.
        kinds: those of ``OPTIONAL_KINDS`` that the cluster serves.
        default_image: the gateway's image of this operator release.
        now: wall clock, UTC.
    """

    children: Mapping[Ref, Object]
    strangers: frozenset[Ref]
    secrets: Mapping[str, Mapping[str, bytes] | None]
    config_maps: Mapping[str, Mapping[str, str] | None]
    kinds: frozenset[str]
    default_image: str
    now: datetime
