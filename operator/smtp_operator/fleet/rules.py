"""What must hold between fields, checked again.

Each rule has a twin in ``crds/smtpgateways.yaml``, a CEL expression with the same message: a test
compares them, and tries both on the same good and bad examples. A rule yields the paths at which
it is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from smtp_operator.fleet.fields import HEALTH_PORT, HEALTH_PORT_NAME, QUANTITY, Spec

NAME_FORM = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
NAME_MESSAGE = (
    "name must be a DNS label of at most 40 characters that starts with a letter; "
    "Services are named after it"
)
COPIES = 10  # of the largest message: three here, four in the worker, and a quarter stays free
RESTING_BYTES = 160 * 1024**2  # what the gateway takes without any mail, and room to spare
CLUSTER_SUFFIXES = (".svc", ".svc.cluster.local")
CERT_MANAGER_GROUP = "cert-manager.io"

Paths = Iterator[str]
Rule = Callable[[Spec], Paths]
RULES: list[tuple[str, Rule]] = []


def rule(message: str) -> Callable[[Rule], Rule]:
    """Add a rule to the table."""

    def add(check: Rule) -> Rule:
        RULES.append((message, check))
        return check

    return add


def faults(spec: Spec) -> list[tuple[str, str]]:
    """Path and message of everything that does not hold."""
    return [(path, message) for message, check in RULES for path in check(spec)]


def name_fits(name: str) -> bool:
    """Whether Services and other children can be named after this SmtpGateway."""
    return NAME_FORM.fullmatch(name) is not None


_NUMBER = re.compile(str(QUANTITY["pattern"]))
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def amount(quantity: int | str) -> Decimal:
    """A Kubernetes quantity (``500m``, ``1Gi``, ``2e3``) as a number."""
    found = _NUMBER.fullmatch(str(quantity))
    if found is None:
        raise ValueError("not a quantity")
    number, unit = Decimal(found[1]), found[3] or ""
    if unit.endswith("i"):
        return number * Decimal(1024) ** ("KMGTPE".index(unit[0]) + 1)
    if unit in _DECIMAL:
        return number.scaleb(_DECIMAL[unit])
    return number.scaleb(int(unit[1:]))


@rule("two listeners have the same name")
def _listener_names(spec: Spec) -> Paths:
    names = [listener.name for listener in spec.listeners]
    if len(set(names)) < len(names):
        yield "spec.listeners"


@rule("two listeners would use the same container port (ports below 1024 listen on port + 2000)")
def _container_ports(spec: Spec) -> Paths:
    ports = [listener.container_port for listener in spec.listeners]
    if len(set(ports)) < len(ports):
        yield "spec.listeners"


@rule("8080 is the port of health and metrics")
def _health_port(spec: Spec) -> Paths:
    if any(listener.port == HEALTH_PORT for listener in spec.listeners):
        yield "spec.listeners"


@rule("http is the name of the port of health and metrics")
def _health_port_name(spec: Spec) -> Paths:
    if any(listener.name == HEALTH_PORT_NAME for listener in spec.listeners):
        yield "spec.listeners"


@rule("465 speaks TLS at once, 587 uses STARTTLS (RFC 8314)")
def _submission_ports(spec: Spec) -> Paths:
    usual = {465: "Implicit", 587: "StartTLS"}
    for place, listener in enumerate(spec.listeners):
        if listener.tls != usual.get(listener.port, listener.tls):
            yield f"spec.listeners[{place}].tls"


@rule("set exactly one of secretName, certManager, selfSigned")
def _one_certificate(spec: Spec) -> Paths:
    sources = (spec.tls.secret_name, spec.tls.cert_manager, spec.tls.self_signed)
    if sum(source is not None for source in sources) != 1:
        yield "spec.tls"


@rule("certManager needs at least one name in dnsNames")
def _names_for_cert_manager(spec: Spec) -> Paths:
    if spec.tls.cert_manager is not None and not spec.tls.dns_names:
        yield "spec.tls.dnsNames"


@rule("renewBeforeDays must be less than validityDays")
def _renewal(spec: Spec) -> Paths:
    if spec.tls.renew_before_days >= spec.tls.validity_days:
        yield "spec.tls.renewBeforeDays"


@rule("cert-manager's own issuers are of kind Issuer or ClusterIssuer")
def _issuer_kind(spec: Spec) -> Paths:
    if spec.tls.cert_manager is None:
        return
    issuer = spec.tls.cert_manager.issuer_ref
    if issuer.group == CERT_MANAGER_GROUP and issuer.kind not in {"Issuer", "ClusterIssuer"}:
        yield "spec.tls.certManager.issuerRef.kind"


@rule("must be https; http is allowed only towards the cluster itself")
def _safe_urls(spec: Spec) -> Paths:
    if not _safe_url(spec.cakemail.api_url):
        yield "spec.cakemail.apiUrl"
    if spec.cakemail.auth_url is not None and not _safe_url(spec.cakemail.auth_url):
        yield "spec.cakemail.authUrl"


def _safe_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018  # reading it is the check
    except ValueError:
        return False
    if parts.scheme == "https":
        return host != ""
    return host == "localhost" or host.endswith(CLUSTER_SUFFIXES)


@rule("gracePeriodSeconds must leave room for delaySeconds, the submission deadline and 10 s")
def _grace(spec: Spec) -> Paths:
    least = spec.drain.delay_seconds + spec.limits.submission_deadline_seconds + 10
    if spec.drain.grace_period_seconds < least:
        yield "spec.drain.gracePeriodSeconds"


@rule("maxConnectionsPerClient exceeds maxConnections")
def _connections_per_client(spec: Spec) -> Paths:
    limits = spec.limits
    if (limits.max_connections_per_client or 0) > limits.max_connections:
        yield "spec.limits.maxConnectionsPerClient"


@rule("maxConnectionsPerLogin exceeds maxConnections")
def _connections_per_login(spec: Spec) -> Paths:
    limits = spec.limits
    if (limits.max_connections_per_login or 0) > limits.max_connections:
        yield "spec.limits.maxConnectionsPerLogin"


@rule("minReplicas exceeds maxReplicas")
def _replicas(spec: Spec) -> Paths:
    scaling = spec.autoscaling
    if scaling is not None and scaling.min_replicas > scaling.max_replicas:
        yield "spec.autoscaling.minReplicas"


@rule("set minAvailable or maxUnavailable, not both")
def _one_budget(spec: Spec) -> Paths:
    if spec.disruption.min_available is not None and spec.disruption.max_unavailable is not None:
        yield "spec.disruption"


@rule("maxUnavailable of 0 would block every node drain")
def _drains_possible(spec: Spec) -> Paths:
    if spec.disruption.max_unavailable in {0, "0%"}:
        yield "spec.disruption.maxUnavailable"


@rule("minAvailable of 100% would block every node drain")
def _drains_allowed(spec: Spec) -> Paths:
    if spec.disruption.min_available == "100%":
        yield "spec.disruption.minAvailable"


@rule("one of maxSurge and maxUnavailable must be above 0")
def _rollout_moves(spec: Spec) -> Paths:
    if {spec.rollout.max_surge, spec.rollout.max_unavailable} <= {0, "0%"}:
        yield "spec.rollout"


@rule("externalTrafficPolicy needs NodePort or LoadBalancer")
def _traffic_policy(spec: Spec) -> Paths:
    if spec.service.type == "ClusterIP" and spec.service.external_traffic_policy is not None:
        yield "spec.service.externalTrafficPolicy"


@rule("loadBalancer fields need type LoadBalancer")
def _load_balancer(spec: Spec) -> Paths:
    service = spec.service
    named = service.load_balancer_class is not None or service.load_balancer_source_ranges
    if named and service.type != "LoadBalancer":
        yield "spec.service"


@rule("nodePort needs service.type NodePort or LoadBalancer")
def _node_ports(spec: Spec) -> Paths:
    named = any(listener.node_port is not None for listener in spec.listeners)
    if named and spec.service.type == "ClusterIP":
        yield "spec.listeners"


@rule("must be a CIDR such as 203.0.113.0/24")
def _source_ranges(spec: Spec) -> Paths:
    for place, cidr in enumerate(spec.service.load_balancer_source_ranges):
        if _network(cidr) is None:
            yield f"spec.service.loadBalancerSourceRanges[{place}]"


@rule("name the proxies to trust")
def _proxies(spec: Spec) -> Paths:
    proxies = spec.service.proxy_protocol
    if proxies.enabled and not proxies.trusted_cidrs:
        yield "spec.service.proxyProtocol.trustedCIDRs"


@rule("must be a CIDR, and not the whole Internet: any client could forge its address")
def _trusted_proxies(spec: Spec) -> Paths:
    for place, cidr in enumerate(spec.service.proxy_protocol.trusted_cidrs):
        network = _network(cidr)
        if network is None or network.prefixlen == 0:
            yield f"spec.service.proxyProtocol.trustedCIDRs[{place}]"


def _network(cidr: str) -> IPv4Network | IPv6Network | None:
    """A network as CEL's ``isCIDR`` takes it: with a prefix length, host bits allowed."""
    if not re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]{1,3}", cidr):
        return None
    try:
        return ip_network(cidr, strict=False)
    except ValueError:
        return None


@rule("a request exceeds its limit")
def _requests_within_limits(spec: Spec) -> Paths:
    limits = spec.resources.limits
    for name, request in spec.resources.requests.items():
        if name in limits and amount(request) > amount(limits[name]):
            yield "spec.resources"
            return


@rule(
    "limits.memory must hold 160Mi and ten times spec.limits.maxMessageBytes: "
    "the gateway would not start"
)
def _memory_holds_a_message(spec: Spec) -> Paths:
    limit = spec.resources.limits.get("memory")
    needed = RESTING_BYTES + COPIES * spec.limits.max_message_bytes
    if limit is not None and amount(limit) < needed:
        yield "spec.resources.limits"
