"""What an SmtpGateway may say: every field of its spec, with bounds and defaults.

The same fields stand in ``crds/smtpgateways.yaml``, which the API server obeys; a test walks both
ways between the two. They are stated here again because an object may have been stored under an
older schema. What must hold between fields is in ``rules.py``. Names are the YAML's in snake case,
with the unit in the name; what a field means, the YAML and ``docs/smtpgateway.md`` say.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

HEALTH_PORT = 8080  # of the container: health and metrics
HEALTH_PORT_NAME = "http"
FIRST_FREE_PORT = 1024  # below it a process needs a capability
PORT_OFFSET = 2000  # what is added to such a port inside the container

SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
CERTIFICATE_NAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
PORT_NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
DATA_KEY = r"^[-._a-zA-Z0-9]+$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
TAG = r"^[a-zA-Z0-9_-]+$"
URL = r"^https?://[^\s?#@]+$"
KIND = r"^[A-Z][A-Za-z0-9]*$"
QUALIFIED = r"^([a-z0-9][-a-z0-9.]*/)?[a-zA-Z0-9]([-a-zA-Z0-9_.]*[a-zA-Z0-9])?$"
MAILBOX = r"^[!-#%-?A-~]+@[!-#%-?A-~]+$"
VISIBLE = r"^[!-#%-~]+$"  # the gateway takes ${NAME} in its settings for a variable
FORMS = {  # of each pattern, as people say it
    VISIBLE: "ASCII letters, digits and signs, without spaces and $",
    MAILBOX: "an address such as postmaster@example.com, in ASCII and without $",
    SUBDOMAIN: "a DNS name in lower case, such as mail.example.com",
    CERTIFICATE_NAME: "a DNS name in lower case, such as mail.example.com or *.example.com",
    PORT_NAME: "lower-case letters and digits with single hyphens, beginning with a letter",
    DATA_KEY: "letters, digits, and - _ .",
    LABEL_VALUE: "a label's value: letters, digits, and - _ . in between",
    TAG: "letters, digits, - and _",
    URL: "an http:// or https:// address without user, query and fragment",
    KIND: "a kind, such as Issuer",
    QUALIFIED: "a name with or without a domain, such as example.com/name",
}
COUNT_OR_PERCENT = {
    "x-kubernetes-int-or-string": True,
    "minimum": 0,
    "maximum": 200,
    "maxLength": 4,
    "pattern": r"^([1-9]?[0-9]|100)%$",
}
QUANTITY = {
    "x-kubernetes-int-or-string": True,
    "minimum": 0,
    "maxLength": 32,
    "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,2})?$",
}


def _number_or_text(schema: dict[str, Any], advice: str) -> AfterValidator:
    """What an int-or-string of the schema may be: a number in bounds, or a text of a form."""
    form = re.compile(schema["pattern"])

    def check(value: int | str) -> int | str:
        if isinstance(value, str):
            fits = len(value) <= schema["maxLength"] and form.fullmatch(value) is not None
        else:
            fits = schema["minimum"] <= value <= schema.get("maximum", value)
        if not fits:
            raise ValueError(advice)
        return value

    return AfterValidator(check)


JsonObject = dict[str, Any]  # of another API (core/v1, autoscaling/v2, ...), passed on as it is
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=SUBDOMAIN)]
DnsName = Annotated[str, Field(min_length=1, max_length=253, pattern=CERTIFICATE_NAME)]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=DATA_KEY)]
Cidr = Annotated[str, Field(max_length=50)]
Url = Annotated[str, Field(max_length=512, pattern=URL)]
Tag = Annotated[str, Field(max_length=255, pattern=TAG)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
Mailbox = Annotated[str, Field(min_length=3, max_length=254, pattern=MAILBOX)]
Labels = Annotated[dict[str, LabelValue], Field(max_length=32)]
Annotations = Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)]
CountOrPercent = Annotated[
    int | str,
    _number_or_text(COUNT_OR_PERCENT, "must be a number from 0 to 200, or one such as 25%"),
    WithJsonSchema(COUNT_OR_PERCENT),
]
Quantity = Annotated[
    int | str,
    _number_or_text(QUANTITY, "must be a quantity such as 500m, 2 or 512Mi"),
    WithJsonSchema(QUANTITY),
]
Quantities = Annotated[dict[str, Quantity], Field(max_length=8)]


class Block(BaseModel):
    """Frozen. A field that is unknown here was added by a newer schema: it is left aside."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


class Listener(Block):
    """One port of the Service, and of each pod."""

    name: Annotated[str, Field(min_length=1, max_length=15, pattern=PORT_NAME)]
    port: Port
    tls: Literal["StartTLS", "Implicit"] = "StartTLS"
    node_port: Port | None = None

    @property
    def container_port(self) -> int:
        """Where the container listens: no capability and no sysctl is needed."""
        return self.port + PORT_OFFSET if self.port < FIRST_FREE_PORT else self.port


class IssuerRef(Block):
    """Who signs, in cert-manager's words."""

    name: Name
    kind: Annotated[str, Field(max_length=63, pattern=KIND)] = "Issuer"
    group: Name = "cert-manager.io"


class CertManager(Block):
    """The operator makes a ``Certificate`` and uses the Secret that comes of it."""

    issuer_ref: IssuerRef


class SelfSigned(Block):
    """The operator makes and renews the certificate itself."""


class Tls(Block):
    """Where the certificate comes from: exactly one of the first three is set."""

    secret_name: Name | None = None
    cert_manager: CertManager | None = None
    self_signed: SelfSigned | None = None
    dns_names: Annotated[tuple[DnsName, ...], Field(max_length=64)] = ()
    min_version: Literal["1.2", "1.3"] = "1.2"
    key_algorithm: Literal["ECDSA", "RSA"] = "ECDSA"
    validity_days: Annotated[int, Field(ge=1, le=3650)] = 90
    renew_before_days: Annotated[int, Field(ge=1, le=3650)] = 30


class Tracking(Block):
    """Of messages that do not say their own."""

    opens: bool = False
    clicks_html: bool = False
    clicks_text: bool = False


class ConfigMapRef(Block):
    """One key of a ConfigMap in the gateway's namespace."""

    name: Name
    key: DataKey = "ca.crt"


class Cakemail(Block):
    """The API behind the gateway, and what a message gets that does not say."""

    api_url: Url = "https://api.cakemail.dev"
    auth_url: Url | None = None
    list_id: Annotated[int, Field(ge=1)] | None = None
    email_type: Literal["transactional", "marketing"] = "transactional"
    default_sender_id: (
        Annotated[str, Field(min_length=1, max_length=128, pattern=VISIBLE)] | None
    ) = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=20)] = ()
    tracking: Tracking = Tracking()
    inline_images: Literal["Attach", "Refuse"] = "Attach"
    allow_second_sending: bool = False
    connect_timeout_seconds: Annotated[int, Field(ge=1, le=60)] = 5
    read_timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 30
    max_concurrent_requests: Annotated[int, Field(ge=1, le=2000)] = 100
    ca_config_map_ref: ConfigMapRef | None = None


class Lockout(Block):
    """When wrong logins lock a client out: distinct ones count, per pod."""

    per_login: Annotated[int, Field(ge=1, le=1000)] = 5
    per_client: Annotated[int, Field(ge=1, le=1000)] = 50
    window_seconds: Annotated[int, Field(ge=60, le=86_400)] = 600
    lock_seconds: Annotated[int, Field(ge=60, le=86_400)] = 900


class Authentication(Block):
    """How clients log in."""

    mechanisms: Annotated[
        tuple[Literal["PLAIN", "LOGIN"], ...], Field(min_length=1, max_length=2)
    ] = ("PLAIN", "LOGIN")
    max_cache_seconds: Annotated[int, Field(ge=0, le=432_000)] | None = None
    lockout: Lockout = Lockout()


class Limits(Block):
    """Per pod, unless the name says otherwise."""

    max_message_bytes: Annotated[int, Field(ge=65_536, le=104_857_600)] = 26_214_400
    max_recipients: Annotated[int, Field(ge=1, le=1000)] = 100
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    max_connections_per_client: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_connections_per_login: Annotated[int, Field(ge=1, le=100_000)] | None = None
    messages_per_connection: Annotated[int, Field(ge=1, le=100_000)] = 1000
    emails_per_minute_per_client: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    idle_timeout_seconds: Annotated[int, Field(ge=10, le=3600)] = 300
    submission_deadline_seconds: Annotated[int, Field(ge=5, le=110)] = 50


class Autoscaling(Block):
    """Present means on: a HorizontalPodAutoscaler writes the number of pods."""

    min_replicas: Annotated[int, Field(ge=1, le=200)] = 2
    max_replicas: Annotated[int, Field(ge=1, le=200)] = 20
    target_cpu_utilization_percentage: Annotated[
        int, Field(ge=1, le=100, alias="targetCPUUtilizationPercentage")
    ] = 70
    target_emails_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    behavior: JsonObject | None = None


class Disruption(Block):
    """The PodDisruptionBudget."""

    enabled: bool = True
    max_unavailable: CountOrPercent | None = None
    min_available: CountOrPercent | None = None

    @property
    def budget(self) -> dict[str, int | str]:
        """The one field of the budget's spec that counts; ``maxUnavailable: 1`` unless said."""
        if self.min_available is not None:
            return {"minAvailable": self.min_available}
        return {"maxUnavailable": 1 if self.max_unavailable is None else self.max_unavailable}


class Drain(Block):
    """How a pod ends."""

    delay_seconds: Annotated[int, Field(ge=0, le=60)] = 5
    grace_period_seconds: Annotated[int, Field(ge=30, le=3600)] = 120


class Rollout(Block):
    """How pods are replaced, and when an operator upgrade may do it."""

    max_surge: CountOrPercent = "25%"
    max_unavailable: CountOrPercent = 0
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=3600)] = 600
    wave: Annotated[int, Field(ge=0, le=9)] = 5
    on_operator_upgrade: Literal["Automatic", "Hold"] = "Automatic"


class ProxyProtocol(Block):
    """Who may state a client's address in front of the session."""

    enabled: bool = False
    trusted_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=32, alias="trustedCIDRs")] = ()


class Service(Block):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    annotations: Annotations = {}
    labels: Labels = {}
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    ip_families: Annotated[tuple[Literal["IPv4", "IPv6"], ...], Field(max_length=2)] = ()
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    load_balancer_class: (
        Annotated[str, Field(min_length=1, max_length=316, pattern=QUALIFIED)] | None
    ) = None
    load_balancer_source_ranges: Annotated[tuple[Cidr, ...], Field(max_length=64)] = ()
    proxy_protocol: ProxyProtocol = ProxyProtocol()

    @property
    def traffic_policy(self) -> Literal["Cluster", "Local"] | None:
        """``externalTrafficPolicy``: Local behind a balancer, as it keeps the client's address."""
        if self.external_traffic_policy is None and self.type == "LoadBalancer":
            return "Local"
        return self.external_traffic_policy


class ServiceMonitor(Block):
    """For the Prometheus operator."""

    enabled: bool = False
    interval_seconds: Annotated[int, Field(ge=5, le=300)] = 30
    labels: Labels = {}


class Alerts(Block):
    """A PrometheusRule with the gateway's alerts."""

    enabled: bool = False
    labels: Labels = {}


class Monitoring(Block):
    """What needs the Prometheus operator's CRDs."""

    service_monitor: ServiceMonitor = ServiceMonitor()
    alerts: Alerts = Alerts()


class NetworkPolicy(Block):
    """Peers and rules are those of networking.k8s.io/v1; no peer named means anyone."""

    enabled: bool = True
    clients: Annotated[tuple[JsonObject, ...], Field(max_length=32)] = ()
    metrics_from: Annotated[tuple[JsonObject, ...], Field(max_length=32)] = ()
    extra_egress: Annotated[tuple[JsonObject, ...], Field(max_length=16)] = ()


class Scheduling(Block):
    """Where pods run; as in core/v1, ``topology_spread`` apart."""

    topology_spread: Literal["Preferred", "Required", "None"] = "Preferred"
    topology_spread_constraints: Annotated[tuple[JsonObject, ...], Field(max_length=8)] = ()
    affinity: JsonObject | None = None
    tolerations: Annotated[tuple[JsonObject, ...], Field(max_length=32)] = ()
    node_selector: Labels = {}
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None


class Resources(Block):
    """Of the gateway's container."""

    requests: Quantities = {"cpu": "500m", "memory": "512Mi"}
    limits: Quantities = {"cpu": "1000m", "memory": "1Gi"}


class PodMetadata(Block):
    """What pods carry besides the operator's own."""

    labels: Labels = {}
    annotations: Annotations = {}


class PodTemplate(Block):
    """The last layer: a partial pod template, laid over what the operator renders."""

    metadata: PodMetadata = PodMetadata()
    spec: JsonObject = {}


class Logging(Block):
    """What the gateway writes to its output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
    client_address: Literal["Full", "Network", "None"] = "Full"


class Spec(Block):
    """``spec`` of an SmtpGateway; made by ``read_spec`` only."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=VISIBLE)] | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[Name, ...], Field(max_length=10)] = ()
    replicas: Annotated[int, Field(ge=0, le=200)] = 2
    hostname: Name | None = None
    line_endings: Literal["Normalize", "Strict"] = "Normalize"
    postmaster: Mailbox | None = None
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1, max_length=8)] = (
        Listener(name="submission", port=587, tls="StartTLS"),
        Listener(name="submissions", port=465, tls="Implicit"),
    )
    tls: Tls
    cakemail: Cakemail = Cakemail()
    authentication: Authentication = Authentication()
    limits: Limits = Limits()
    autoscaling: Autoscaling | None = None
    disruption: Disruption = Disruption()
    drain: Drain = Drain()
    rollout: Rollout = Rollout()
    service: Service = Service()
    monitoring: Monitoring = Monitoring()
    network_policy: NetworkPolicy = NetworkPolicy()
    scheduling: Scheduling = Scheduling()
    resources: Resources = Resources()
    pod_template: PodTemplate | None = None
    logging: Logging = Logging()
    paused: bool = False

    def greeting_name(self, service_name: str) -> str:
        """The name in banner and EHLO.

        It is ``hostname``, else the certificate's first name that is no wildcard, else the
        Service's name.
        """
        plain = (name for name in self.tls.dns_names if not name.startswith("*"))
        return self.hostname or next(plain, service_name)
