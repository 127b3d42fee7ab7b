"""The pod template: one container that may do nothing but serve mail.

It keeps to Pod Security *restricted*, and what it needs from outside is mounted as folders, so
that the kubelet can refresh them; a file mounted by ``subPath`` would never change.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Facts, Gateway, Object
from smtp_operator.fleet.spec import HEALTH_PORT, HEALTH_PORT_NAME, Spec
from smtp_operator.resources.child import filled
from smtp_operator.resources.variables import CA_FOLDER, LIVE_FOLDER, TLS_FOLDER

TRUST = f"{names.GROUP}/trust"  # hash of a private CA: the gateway reads it at its start only
SCRATCH_LIMIT = "256Mi"
ZONE, NODE = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
UNSATISFIABLE = {"Preferred": "ScheduleAnyway", "Required": "DoNotSchedule"}


def template(gateway: Gateway, facts: Facts, *, start: str, trust: str) -> Object:
    """``spec.template`` of the Deployment, before ``podTemplate`` is laid over it.

    Args:
        gateway: the wish.
        facts: for the default image.
        start: name of the start configuration.
        trust: hash of the private CA, "" when there is none.
    """
    spec, scheduling = gateway.spec, gateway.spec.scheduling
    return {
        "metadata": filled(labels=names.labels(gateway.key), annotations=filled(**{TRUST: trust})),
        "spec": filled(
            serviceAccountName=gateway.key.name,
            # A Service called `smtp` would put SMTP_PORT=tcp://... into the environment.
            enableServiceLinks=False,
            automountServiceAccountToken=False,
            securityContext={
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            terminationGracePeriodSeconds=spec.drain.grace_period_seconds,
            containers=[_container(spec, spec.image or facts.default_image, start)],
            volumes=_volumes(gateway),
            imagePullSecrets=[{"name": name} for name in spec.image_pull_secrets],
            topologySpreadConstraints=_spread(gateway),
            affinity=scheduling.affinity,
            tolerations=list(scheduling.tolerations),
            nodeSelector=dict(scheduling.node_selector),
            priorityClassName=scheduling.priority_class_name,
            runtimeClassName=scheduling.runtime_class_name,
        ),
    }


def _container(spec: Spec, image: str, start: str) -> Object:
    return filled(
        name=names.CONTAINER,
        image=image,
        imagePullPolicy=spec.image_pull_policy,
        envFrom=[{"configMapRef": {"name": start}}],
        ports=_ports(spec),
        resources=filled(
            requests=dict(spec.resources.requests), limits=dict(spec.resources.limits)
        ),
        securityContext={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        volumeMounts=_mounts(spec),
        **PROBES,
    )


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": HEALTH_PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


# Liveness asks whether the event loop turns, never for the API's health: a restart would lose
# what is in flight and heal nothing (smtp-server 4.7).
PROBES = {
    "startupProbe": _probe("/health/live", period=1, timeout=1, failures=60),
    "livenessProbe": _probe("/health/live", period=10, timeout=5, failures=6),
    "readinessProbe": _probe("/health/ready", period=5, timeout=3, failures=2),
}


def _ports(spec: Spec) -> list[Object]:
    served = [(listener.name, listener.container_port) for listener in spec.listeners]
    return [
        {"name": name, "containerPort": port, "protocol": "TCP"}
        for name, port in [*served, (HEALTH_PORT_NAME, HEALTH_PORT)]
    ]


def _mounts(spec: Spec) -> list[Object]:
    folders = [("tls", TLS_FOLDER), ("live", LIVE_FOLDER)]
    if spec.cakemail.ca_config_map_ref is not None:
        folders.append(("ca", CA_FOLDER))
    mounts: list[Object] = [
        {"name": name, "mountPath": path, "readOnly": True} for name, path in folders
    ]
    return [*mounts, {"name": "scratch", "mountPath": "/tmp"}]  # noqa: S108  # inside the pod


def _volumes(gateway: Gateway) -> list[Object]:
    volumes: list[Object] = [
        {"name": "tls", "secret": {"secretName": names.tls_secret(gateway)}},
        {"name": "live", "configMap": {"name": names.live(gateway.key)}},
        {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_LIMIT}},
    ]
    ref = gateway.spec.cakemail.ca_config_map_ref
    if ref is not None:
        items = [{"key": ref.key, "path": ref.key}]
        volumes.append({"name": "ca", "configMap": {"name": ref.name, "items": items}})
    return volumes


def _spread(gateway: Gateway) -> list[Object]:
    scheduling = gateway.spec.scheduling
    if scheduling.topology_spread_constraints:
        return list(scheduling.topology_spread_constraints)
    if scheduling.topology_spread == "None":
        return []
    otherwise = UNSATISFIABLE[scheduling.topology_spread]
    return [_evenly(over, otherwise, names.selector(gateway.key)) for over in (ZONE, NODE)]


def _evenly(over: str, otherwise: str, labels: Mapping[str, str]) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": over,
        "whenUnsatisfiable": otherwise,
        "labelSelector": {"matchLabels": dict(labels)},
        # Each revision is spread for itself; else old pods push the new ones together.
        "matchLabelKeys": ["pod-template-hash"],
        # A node that is drained, lost or not for us gets no pods. Counted as an empty place it
        # would forbid all others a further pod, and the drain would wait for ever.
        "nodeTaintsPolicy": "Honor",
    }
