"""What administrators do to a running operator, and what of it can be seen from outside."""

from __future__ import annotations

import copy
import itertools
import json
import threading
import urllib.request
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from smtp_operator.cluster.children import APPLIED_HASH
from tests.cluster.commands import ClusterError, run, wait_until
from tests.cluster.node import CONTAINERD_SOCKET
from tests.end_to_end.fleet import (
    CHILDREN,
    IMAGES,
    OPERATOR,
    OURS,
    InstalledOperator,
    ManagedFleet,
    entries,
)
from tests.support.images import archive_of
from tests.support.kubernetes import Kubernetes

NEXT_VERSION = "0.2.0"
NEXT_OPERATOR = f"docker.io/library/cakemail-smtp-operator:{NEXT_VERSION}"
NEXT_GATEWAY = f"docker.io/library/cakemail-smtp-gateway:{NEXT_VERSION}"
_ACTS_SECONDS = 120

# The same code, which calls itself newer: all that a release without any change to fleets is.
_NEXT_OPERATOR = f"""\
FROM {IMAGES["Dockerfile.operator"]}
USER 0:0
RUN ["sh", "-c", "sed -i 's/^Version: .*/Version: {NEXT_VERSION}/' /opt/operator/lib/python*/\
site-packages/cakemail_smtp_gateway-*.dist-info/METADATA"]
USER 10001:10001
"""


def load_next_operator(kubernetes: Kubernetes, folder: Path) -> None:
    """An operator of the next version, made of the present one, which must be there."""
    dockerfile = folder / "Dockerfile.next"
    dockerfile.write_text(_NEXT_OPERATOR, encoding="utf-8")
    kubernetes.load_image(archive_of(str(dockerfile), NEXT_OPERATOR, folder))


def load_next_gateway(kubernetes: Kubernetes, folder: Path) -> None:
    """The gateway under another name."""
    kubernetes.load_image(archive_of("Dockerfile.gateway", NEXT_GATEWAY, folder))


@contextmanager
def changed(operator: InstalledOperator, *, image: str = "", **variables: str) -> Iterator[None]:
    """Another image or further variables for the time of a block; both pods are new, twice.

    Args:
        operator: the installed one.
        image: none: the one that it has.
        variables: of its environment, instead of those that it has.
    """
    deployment = operator.kubernetes.get(f"deployment/{OPERATOR}", OPERATOR)
    (before,) = deployment["spec"]["template"]["spec"]["containers"]
    wanted = copy.deepcopy(before)
    wanted["image"] = image or before["image"]
    kept = [entry for entry in before["env"] if entry["name"] not in variables]
    wanted["env"] = kept + [{"name": name, "value": variables[name]} for name in variables]
    _replace(operator, wanted)
    try:
        yield
    finally:
        _replace(operator, before)


def _replace(operator: InstalledOperator, container: dict[str, Any]) -> None:
    path = "/spec/template/spec/containers/0"
    patch = json.dumps([{"op": "replace", "path": path, "value": container}])
    operator.kubectl("patch", f"deployment/{OPERATOR}", "--type=json", f"--patch={patch}")
    operator.scale(2)
    wait_until("one of them leads", lambda: operator.leader() in operator.pods(), _ACTS_SECONDS)


def metrics(operator: InstalledOperator, pod: str) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of all that a pod of the operator counts."""
    address = operator.kubernetes.reach(pod, 8080, OPERATOR)
    url = f"http://{address.host}:{address.port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return [(s.name, s.labels, s.value) for family in families for s in family.samples]


def version(operator: InstalledOperator, pod: str) -> str:
    """What a pod of the operator calls itself."""
    found = (labels for name, labels, _ in metrics(operator, pod) if name.endswith("build_info"))
    return next(labels["version"] for labels in found if "version" in labels)


def wait_until_looked_at(operator: InstalledOperator, fleet: ManagedFleet) -> None:
    """Return when the present leader has been through with a fleet that is not paused."""
    place = {"namespace": fleet.namespace, "name": fleet.name}

    def looked_at() -> bool:
        leader, pods = operator.leader(), operator.pods()
        if leader not in pods or len(pods) > 2:  # one ends, and may lead until then
            return False
        try:
            found = metrics(operator, leader)
        except (OSError, ClusterError):  # it has not begun to serve, or has gone meanwhile
            return False
        return place in [labels for name, labels, _ in found if name == _ONE_A_FLEET]

    wait_until("the leader knows the fleet", looked_at, _ACTS_SECONDS)


_ONE_A_FLEET = "smtp_operator_paused"


def versions(fleet: ManagedFleet) -> dict[str, str]:
    """What changes with each write of the operator, of the SmtpGateway and all its children."""
    gateway = fleet.observed()
    selector = f"--selector={OURS},app.kubernetes.io/instance={fleet.name}"
    words = ("get", CHILDREN, selector, "--show-managed-fields", "--output=json")
    found = json.loads(fleet.kubectl(*words))["items"]
    versions = {f"{item['kind']}/{item['metadata']['name']}": _written(item) for item in found}
    return {f"SmtpGateway/{fleet.name}": gateway["metadata"]["resourceVersion"]} | versions


def _written(child: dict[str, Any]) -> str:
    """What the operator owns of it, since when; the version moves with controllers' status too."""
    meta = child["metadata"]
    owned = [one for one in meta["managedFields"] if one["manager"].startswith(OPERATOR)]
    return json.dumps([meta["uid"], meta["annotations"][APPLIED_HASH], owned], sort_keys=True)


def crash(kubernetes: Kubernetes, pod: dict[str, Any]) -> None:
    """SIGKILL to the first process of a pod, by its node, as when memory runs out."""
    assert kubernetes.local is not None
    (status,) = pod["status"]["containerStatuses"]
    container = status["containerID"].removeprefix("containerd://")
    node = kubernetes.local.machines.node(pod["spec"]["nodeName"])
    ctr = ("ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io")
    run(*ctr, "tasks", "kill", "--signal=SIGKILL", container, prefix=node.enter("mount"))


@contextmanager
def kept_busy(fleet: ManagedFleet) -> Iterator[None]:
    """Edits that the operator has to act on, one after the other, for the time of a block."""
    ended = threading.Event()

    def edit() -> None:
        for number in itertools.cycle(range(1, 1001)):
            if ended.is_set():
                return
            fleet.patch({"limits": {"maxRecipients": number}})

    with ThreadPoolExecutor(1) as pool:
        editing = pool.submit(edit)
        try:
            yield
        finally:
            ended.set()
        editing.result()


_EVER = datetime.min.replace(tzinfo=UTC)


def moment_of(lines: str, events: Collection[str], since: datetime = _EVER) -> datetime | None:
    """When a log first told of one of these events; None: not yet."""
    moments = (
        datetime.fromisoformat(entry["timestamp"])
        for entry in entries(lines)
        if entry["event"] in events
    )
    return next((moment for moment in moments if moment >= since), None)
