"""Asking a real API server about an SmtpGateway, and hearing its whole answer.

kubectl prints a sentence; the causes of a refusal, one by one, only the API itself tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from kubernetes import client, config

from tests.cluster.commands import CommandFailed, wait_until
from tests.support.kubernetes import Kubernetes
from tests.support.smtpgateway import CRD_FILE

CRD_NAME = "smtpgateways.smtp.cakemail.com"
GROUP, VERSION, PLURAL = "smtp.cakemail.com", "v1alpha1", "smtpgateways"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Cause:
    """One reason of a refusal, as ``details.causes`` has it."""

    reason: str
    field: str
    message: str


@dataclass(frozen=True)
class Answer:
    """What the API server says to one object."""

    status: int
    body: Mapping[str, Any]

    @property
    def causes(self) -> list[Cause]:
        """Of a refusal; empty when it is none."""
        found = self.body.get("details", {}).get("causes", [])
        return [Cause(one["reason"], one.get("field", ""), one["message"]) for one in found]


class Gateways:
    """The API of SmtpGateways on a cluster."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._client = config.new_client_from_config(  # type: ignore[no-untyped-call]  # has no types
            str(kubernetes.kubeconfig)
        )
        self._api = client.CustomObjectsApi(self._client)

    def install(self) -> None:
        """Have the cluster serve them; installing twice changes nothing."""
        crd = ("--server-side", "--force-conflicts", "--filename", str(CRD_FILE))
        self._kubernetes.kubectl("apply", *crd)
        established = ("--for=condition=Established", "--timeout=110s")
        self._kubernetes.kubectl("wait", *established, f"crd/{CRD_NAME}")
        wait_until("SmtpGateways are served", self._served, 60)

    def _served(self) -> bool:
        """Which a definition is only a moment after it is established."""
        try:
            self._kubernetes.kubectl("get", f"--raw=/apis/{GROUP}/{VERSION}/{PLURAL}")
            self._kubernetes.kubectl("get", CRD_NAME)
        except CommandFailed:
            return False
        return True

    def try_out(self, body: Mapping[str, Any], namespace: str = "default") -> Answer:
        """What creating this object would give; nothing is kept, and no field may be unknown."""
        try:
            made = self._api.create_namespaced_custom_object(
                GROUP,
                VERSION,
                namespace,
                PLURAL,
                dict(body),
                dry_run="All",
                field_validation="Strict",
                _request_timeout=TIMEOUT_SECONDS,
            )
        except client.ApiException as refusal:
            return Answer(int(refusal.status or 0), json.loads(refusal.body or "{}"))
        return Answer(201, cast("dict[str, Any]", made))

    def close(self) -> None:
        """End its connections."""
        self._client.close()
