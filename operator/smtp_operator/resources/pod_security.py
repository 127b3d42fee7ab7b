"""Pod Security Standards, profile *restricted*, checked before anything is applied.

The namespace may enforce less, or nothing; a fleet holds TLS keys and sees credentials, so its
pods keep to the strictest profile everywhere. Checked is what ``podTemplate`` may have loosened.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (for Linux pods).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]
Finding = str

# "Volume Types" of the standard.
VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
    "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip
SECCOMP = frozenset({"RuntimeDefault", "Localhost"})
APPARMOR = frozenset({"RuntimeDefault", "Localhost"})
SELINUX_TYPES = frozenset({
    "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t",
})  # fmt: skip
PROC_MOUNTS = frozenset({"Default"})
SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
})  # fmt: skip
CAPABILITIES = frozenset({"NET_BIND_SERVICE"})  # the only one that may be added
APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def violations(template: Pod) -> list[Finding]:
    """One line per breach of the profile, in a fixed order; empty when the template keeps to it.

    A template of another shape than the API's is not judged here; the API server refuses it.
    """
    pod = _mapping(template.get("spec"))
    found = [finding for check in POD_CHECKS for finding in check(pod)]
    for where, container in _containers(pod):
        for check_container in CONTAINER_CHECKS:
            found += [f"{where}: {finding}" for finding in check_container(container, pod)]
    found += _annotations(template)
    return found


def _mapping(value: Any) -> Pod:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Iterator[Pod]:
    return (
        (item for item in value if isinstance(item, Mapping))
        if isinstance(value, list)
        else iter(())
    )


def _among(value: Any, allowed: frozenset[str]) -> bool:
    """A mapping or list, which the schema lets through, is nowhere among texts."""
    return isinstance(value, str) and value in allowed


def _containers(pod: Pod) -> Iterator[tuple[str, Pod]]:
    for field in ("initContainers", "containers"):
        for container in _items(pod.get(field)):
            yield f"container {container.get('name', '?')}", container


def _host_namespaces(pod: Pod) -> Iterator[Finding]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} must not be set"


def _volumes(pod: Pod) -> Iterator[Finding]:
    for volume in _items(pod.get("volumes")):
        for kind in sorted(set(volume) - {"name"} - VOLUMES):
            yield f"volume {volume.get('name', '?')}: {kind} is not allowed"


def _sysctls(pod: Pod) -> Iterator[Finding]:
    for sysctl in _items(_mapping(pod.get("securityContext")).get("sysctls")):
        if not _among(sysctl.get("name"), SYSCTLS):
            yield f"sysctl {sysctl.get('name', '?')} is not allowed"


def _pod_context(pod: Pod) -> Iterator[Finding]:
    yield from _user(_mapping(pod.get("securityContext")))
    yield from _confinement(_mapping(pod.get("securityContext")))


def _user(context: Pod) -> Iterator[Finding]:
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot must not be false"
    if context.get("runAsUser") == 0:
        yield "runAsUser must not be 0"


def _confinement(context: Pod) -> Iterator[Finding]:
    seccomp = _mapping(context.get("seccompProfile")).get("type")
    if seccomp is not None and not _among(seccomp, SECCOMP):
        yield "seccompProfile must be RuntimeDefault or Localhost"
    apparmor = _mapping(context.get("appArmorProfile")).get("type")
    if apparmor is not None and not _among(apparmor, APPARMOR):
        yield "appArmorProfile must be RuntimeDefault or Localhost"
    selinux = _mapping(context.get("seLinuxOptions"))
    if not _among(selinux.get("type", ""), SELINUX_TYPES):
        yield "seLinuxOptions.type is not allowed"
    if selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions must set neither user nor role"
    if _mapping(context.get("windowsOptions")).get("hostProcess"):
        yield "windowsOptions.hostProcess must not be set"


def _container_context(container: Pod, pod: Pod) -> Iterator[Finding]:
    context = _mapping(container.get("securityContext"))
    pod_context = _mapping(pod.get("securityContext"))
    yield from _user(context)
    yield from _confinement(context)
    if context.get("privileged"):
        yield "privileged must not be set"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    mount = context.get("procMount")
    if mount is not None and not _among(mount, PROC_MOUNTS):
        yield "procMount must be Default"
    if not context.get("runAsNonRoot", pod_context.get("runAsNonRoot")):
        yield "runAsNonRoot must be true"
    if not context.get("seccompProfile", pod_context.get("seccompProfile")):
        yield "seccompProfile must be set"


def _capabilities(container: Pod, _: Pod) -> Iterator[Finding]:
    capabilities = _mapping(_mapping(container.get("securityContext")).get("capabilities"))
    if "ALL" not in _texts(capabilities.get("drop")):
        yield "capabilities.drop must hold ALL"
    for name in _texts(capabilities.get("add")):
        if name not in CAPABILITIES:
            yield f"capability {name} must not be added"


def _texts(value: Any) -> Iterable[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _host_access(container: Pod, _: Pod) -> Iterator[Finding]:
    for port in _items(container.get("ports")):
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']} is not allowed"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield from _probe_host(probe, _mapping(container.get(probe)))
    for hook, handler in _mapping(container.get("lifecycle")).items():
        yield from _probe_host(f"lifecycle.{hook}", _mapping(handler))


def _probe_host(name: str, handler: Pod) -> Iterator[Finding]:
    for action in ("httpGet", "tcpSocket"):
        if _mapping(handler.get(action)).get("host"):
            yield f"{name}: host is not allowed"


def _annotations(template: Pod) -> Iterator[Finding]:
    annotations = _mapping(_mapping(template.get("metadata")).get("annotations"))
    for name, value in annotations.items():
        if name.startswith(APPARMOR_ANNOTATION) and not _apparmor_text_allowed(str(value)):
            yield f"annotation {name} is not allowed"


def _apparmor_text_allowed(value: str) -> bool:
    return value in {"", "runtime/default"} or value.startswith("localhost/")


POD_CHECKS: tuple[Callable[[Pod], Iterator[Finding]], ...] = (
    _host_namespaces, _volumes, _sysctls, _pod_context,
)  # fmt: skip
CONTAINER_CHECKS: tuple[Callable[[Pod, Pod], Iterator[Finding]], ...] = (
    _container_context, _capabilities, _host_access,
)  # fmt: skip
