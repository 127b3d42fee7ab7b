"""Start-up settings: the only reader of the environment, read once, then frozen.

A variable that is missing, malformed or misspelt stops the start with one line per fault and
without its value, which may be a secret. What may change while the gateway runs stands in
``policy.py``; ``Settings.policy`` makes its first snapshot.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from enum import StrEnum
from io import StringIO
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.config import JsonDict

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.policy import EmailType, InlineImages, LockoutRules, Policy, Tracking
from smtp_gateway.utils.values import Networks, Port, PortOrOff, Ports, Seconds, Url, words

FAMILIES = ("SMTP_", "SMTPS_", "HTTP_", "TLS_", "CAKEMAIL_", "RATE_LIMIT_", "MAX_CONNECTIONS_",
            "CONNECTION_TIMEOUT", "MESSAGE_SIZE_", "LOG_")  # fmt: skip
NEARLY_EQUAL: Final = 0.9  # of difflib: one or two letters in a name of ours
FOREIGN = frozenset({"HTTP_PROXY"})  # a convention of many programs, none of ours

# A Kubernetes Service called `smtp` puts SMTP_PORT=tcp://..., SMTP_SERVICE_HOST and
# SMTP_PORT_587_TCP_ADDR into every pod that does not switch service links off.
_SERVICE_LINK_NAME = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP)(_\w+)?$")
_SERVICE_LINK_VALUE = re.compile(r"^(tcp|udp)://")

SHOWN_PREFIX_BITS = {4: 24, 6: 64}  # of a client's address, where logs show its network


# What a file may change while the gateway runs; see ``SMTP_LIVE_PATH``.
LIVE: Final[JsonDict] = {"live": True}


class ClientAddressLog(StrEnum):
    """How much of a client's network address a log line shows."""

    FULL = "full"
    NETWORK = "network"
    NONE = "none"

    def shown(self, address: str) -> str:
        """The address as a log line may have it; what is no address is not shown in part."""
        if self is ClientAddressLog.FULL:
            return address
        if self is ClientAddressLog.NONE:
            return ""
        try:
            version = ip_address(address).version
        except ValueError:
            return ""
        prefix = SHOWN_PREFIX_BITS[version]
        return str(ip_network(f"{address.partition('%')[0]}/{prefix}", strict=False))


def _mechanisms(value: object) -> object:
    """RFC 4954 4: names in any case; each is offered once."""
    found = words(value)
    if found == []:
        raise ValueError("names no mechanism")
    return list(dict.fromkeys(map(str.upper, found))) if isinstance(found, list) else value


Tag = Annotated[str, Field(pattern=r"^[a-zA-Z0-9\-_]{1,255}$")]
Tags = Annotated[tuple[Tag, ...], BeforeValidator(words)]
Mechanisms = Annotated[tuple[Literal["PLAIN", "LOGIN"], ...], BeforeValidator(_mechanisms)]


class Settings(BaseModel):
    """Each field is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    cakemail_api_url: Url = Field(
        description="Base address of the Cakemail API; mail goes to `{base}/v2/emails`."
    )
    cakemail_auth_url: Url = Field(
        default="",
        validate_default=False,
        description="Token endpoint. Empty: `{CAKEMAIL_API_URL}/token`.",
    )
    cakemail_ca_path: Path | None = Field(
        default=None, description="Further CA certificates for the API, PEM."
    )
    cakemail_list_id: Annotated[int, Field(ge=1)] | None = Field(
        json_schema_extra=LIVE,
        default=None,
        description="List for messages that name none. Empty: discovered.",
    )
    cakemail_email_type: EmailType = Field(
        json_schema_extra=LIVE,
        default=EmailType.TRANSACTIONAL,
        description="`transactional` or `marketing`, for messages that do not say.",
    )
    cakemail_fallback_sender_id: Annotated[str, Field(min_length=1)] | None = Field(
        json_schema_extra=LIVE,
        default=None,
        description="Sender for messages whose From is no confirmed sender. Empty: refused.",
    )
    cakemail_tags: Tags = Field(
        json_schema_extra=LIVE, default=(), description="Tags added to every message."
    )
    cakemail_track_opens: bool = Field(
        json_schema_extra=LIVE, default=False, description="Track opens unless told."
    )
    cakemail_track_clicks_html: bool = Field(
        json_schema_extra=LIVE, default=False, description="Track clicks in html unless told."
    )
    cakemail_track_clicks_text: bool = Field(
        json_schema_extra=LIVE, default=False, description="Track clicks in plain text unless told."
    )
    cakemail_inline_images: InlineImages = Field(
        json_schema_extra=LIVE,
        default=InlineImages.ATTACH,
        description="`attach` images shown by content id, or `refuse` the message.",
    )
    cakemail_allow_second_sending: bool = Field(
        json_schema_extra=LIVE,
        default=False,
        description="Send again after an unconfirmed attempt that cannot be looked up.",
    )
    cakemail_max_calls: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=200, description="Calls to the API in flight at once; more wait in order."
    )
    cakemail_connect_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        default=5, description="Seconds until a connection to the API must stand."
    )
    cakemail_read_timeout: Annotated[float, Field(gt=0, le=300)] = Field(
        default=30,
        description="Seconds until the API must have answered a call. One may outlive the reply to "
        "the client: the next try is then known.",
    )
    cakemail_login_cache: Annotated[float, Field(ge=0, le=432_000)] | None = Field(
        json_schema_extra=LIVE,
        default=None,
        description="Seconds a login found good is taken again without asking. Empty: its token's "
        "life; 0: always asked.",
    )
    smtp_host: str = Field(
        default="", description="Address the SMTP ports listen on. Empty: all, IPv4 and IPv6."
    )
    smtp_hostname: Annotated[str, Field(pattern=r"^[A-Za-z0-9.\-_\[\]:]{1,255}$")] = Field(
        default_factory=platform.node, description="Name in the greeting. Default: the machine's."
    )
    smtp_port: PortOrOff = Field(default=587, description="STARTTLS port, or `off`.")
    smtps_port: PortOrOff = Field(default=None, description="Implicit TLS port. Empty: off.")
    smtp_extra_ports: Ports = Field(
        default=(), description="Further STARTTLS ports, such as `25,2525`."
    )
    smtps_extra_ports: Ports = Field(default=(), description="Further implicit TLS ports.")
    smtp_live_path: Path | None = Field(
        default=None,
        description="File in the form of `.env` with the settings marked `live`, read again when "
        "it changes. Empty: none.",
    )
    smtp_proxy_peers: Networks = Field(
        default=(),
        description="Balancers that must announce clients by PROXY protocol; others are refused. "
        "Empty: off.",
    )
    smtp_proxy_ports: Ports = Field(
        default=(), description="Ports with PROXY protocol. Empty: all, when peers are named."
    )
    smtp_line_endings: Literal["normalize", "strict"] = Field(
        default="normalize", description="`normalize` or `strict`: what a bare LF in DATA gets."
    )
    smtp_max_recipients: Annotated[int, Field(ge=1, le=1000)] = Field(
        json_schema_extra=LIVE, default=100, description="Recipients per message."
    )
    smtp_connections_per_address: Annotated[int, Field(ge=0)] = Field(
        json_schema_extra=LIVE,
        default=0,
        description="Connections at once from one address; 0: no limit.",
    )
    smtp_connections_per_login: Annotated[int, Field(ge=0)] = Field(
        json_schema_extra=LIVE,
        default=0,
        description="Connections at once with one user name and password; 0: no limit.",
    )
    smtp_auth_mechanisms: Mechanisms = Field(
        json_schema_extra=LIVE,
        default=("PLAIN", "LOGIN"),
        description="Mechanisms of AUTH. Empty: `PLAIN,LOGIN`.",
    )
    smtp_lockout_per_login: Annotated[int, Field(ge=1, le=1000)] = Field(
        json_schema_extra=LIVE,
        default=5,
        description="Distinct wrong passwords of one address for one user name, then it is locked.",
    )
    smtp_lockout_per_address: Annotated[int, Field(ge=1, le=1000)] = Field(
        json_schema_extra=LIVE,
        default=50,
        description="Distinct wrong logins of one address, then it is locked.",
    )
    smtp_lockout_window: Annotated[float, Field(gt=0, le=86_400)] = Field(
        json_schema_extra=LIVE, default=600, description="Seconds a wrong login counts."
    )
    smtp_lockout_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        json_schema_extra=LIVE, default=900, description="Seconds a lock lasts."
    )
    smtp_messages_per_connection: Annotated[int, Field(ge=1, le=100_000)] = Field(
        json_schema_extra=LIVE, default=1000, description="Messages on one connection."
    )
    smtp_postmaster: Annotated[str, Field(pattern=r"^$|^[^@\s]+@[^@\s]+$")] = Field(
        json_schema_extra=LIVE,
        default="",
        description="Where mail to `Postmaster` without a domain goes. Empty: refused.",
    )
    smtp_deadline: Annotated[float, Field(gt=0, le=110)] = Field(
        default=50, description="Seconds from the final dot to the reply."
    )
    smtp_pre_stop: Annotated[float, Field(ge=0)] = Field(
        default=5, description="Seconds of accepting after SIGTERM, until balancers know."
    )
    smtp_grace: Seconds = Field(
        default=120, description="Seconds from SIGTERM to the end; at least pre-stop, deadline, 10."
    )
    smtp_memory_limit: Annotated[int, Field(ge=67_108_864)] | None = Field(
        default=None, description="Bytes this process may use. Empty: the cgroup's limit."
    )
    http_host: str = Field(
        default="", description="Address of health and metrics. Empty: all, IPv4 and IPv6."
    )
    http_port: Port = Field(default=8080, description="Port of health and metrics.")
    tls_cert_path: Path = Field(
        default=Path("/etc/smtp-gateway/tls/tls.crt"), description="Certificate chain, PEM."
    )
    tls_key_path: Path = Field(
        default=Path("/etc/smtp-gateway/tls/tls.key"), description="Private key, PEM."
    )
    tls_min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="Least TLS version of clients: `1.2` or `1.3`."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        json_schema_extra=LIVE, default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    log_client_address: ClientAddressLog = Field(
        default=ClientAddressLog.FULL,
        description="`full`, `network` (/24, /64) or `none` of a client's address in logs.",
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="`json`, a line an object, or `console`, for people."
    )
    rate_limit_per_ip: Annotated[int, Field(ge=0)] = Field(
        json_schema_extra=LIVE,
        default=100,
        description="Mails a minute from one address; 0: no limit.",
    )
    max_connections_per_pod: Annotated[int, Field(ge=1)] = Field(
        json_schema_extra=LIVE, default=1000, description="Connections at once."
    )
    connection_timeout: Seconds = Field(
        json_schema_extra=LIVE,
        default=300,
        description="Seconds a client may be idle, and may take to log in.",
    )
    message_size_limit: Annotated[int, Field(ge=65_536, le=1_073_741_824)] = Field(
        json_schema_extra=LIVE,
        default=26_214_400,
        description="Bytes of one message as sent over SMTP.",
    )

    @model_validator(mode="before")
    @classmethod
    def _upper_case_level(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("log_level"), str):
            return values | {"log_level": values["log_level"].upper()}
        return values

    @model_validator(mode="after")
    def _holds_together(self) -> Settings:
        problems = [
            *self._port_problems(),
            *self._time_problems(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _port_problems(self) -> list[str]:
        ports = [*self.smtp_ports, *self.tls_ports, self.http_port]
        doubled = sorted({port for port in ports if ports.count(port) > 1})
        found = [f"port {port} is named twice" for port in doubled]
        if len(ports) == 1:
            found.append("SMTP_PORT is off and no other SMTP port is named")
        stray = sorted(set(self.smtp_proxy_ports) - set(ports[:-1]))
        found += [f"SMTP_PROXY_PORTS names {port}, which no listener has" for port in stray]
        if self.smtp_proxy_ports and not self.smtp_proxy_peers:
            found.append("SMTP_PROXY_PORTS needs SMTP_PROXY_PEERS")
        return found

    def _time_problems(self) -> list[str]:
        least = self.smtp_pre_stop + self.smtp_deadline + 10
        if self.smtp_grace < least:
            return [f"SMTP_GRACE must be at least {least:g}: SMTP_PRE_STOP + SMTP_DEADLINE + 10"]
        return []

    @property
    def smtp_ports(self) -> tuple[int, ...]:
        """All STARTTLS ports."""
        first = () if self.smtp_port is None else (self.smtp_port,)
        return (*first, *self.smtp_extra_ports)

    @property
    def tls_ports(self) -> tuple[int, ...]:
        """All implicit TLS ports."""
        first = () if self.smtps_port is None else (self.smtps_port,)
        return (*first, *self.smtps_extra_ports)

    @property
    def auth_url(self) -> str:
        """The token endpoint: a value whose path does not end in ``/token`` gets it added."""
        base = self.cakemail_auth_url or self.cakemail_api_url
        return base if urlsplit(base).path.endswith("/token") else f"{base}/token"

    def proxied(self, port: int) -> bool:
        """Whether connections to this port begin with a PROXY header."""
        return bool(self.smtp_proxy_peers) and port in (
            self.smtp_proxy_ports or (*self.smtp_ports, *self.tls_ports)
        )

    def policy(self) -> Policy:
        """The first snapshot of what may change later."""
        return Policy(
            email_type=self.cakemail_email_type,
            list_id=self.cakemail_list_id,
            fallback_sender_id=self.cakemail_fallback_sender_id,
            tracking=Tracking(
                opens=self.cakemail_track_opens,
                clicks_html=self.cakemail_track_clicks_html,
                clicks_text=self.cakemail_track_clicks_text,
            ),
            tags=self.cakemail_tags,
            inline_images=self.cakemail_inline_images,
            allow_second_sending=self.cakemail_allow_second_sending,
            rate_limit_per_ip=self.rate_limit_per_ip,
            message_size_limit_bytes=self.message_size_limit,
            max_recipients=self.smtp_max_recipients,
            postmaster=self.smtp_postmaster,
            max_connections=self.max_connections_per_pod,
            connections_per_address=self.smtp_connections_per_address,
            connections_per_login=self.smtp_connections_per_login,
            messages_per_connection=self.smtp_messages_per_connection,
            idle_timeout_seconds=self.connection_timeout,
            mechanisms=self.smtp_auth_mechanisms,
            lockout=LockoutRules(
                per_user_name=self.smtp_lockout_per_login,
                per_address=self.smtp_lockout_per_address,
                window_seconds=self.smtp_lockout_window,
                lock_seconds=self.smtp_lockout_seconds,
            ),
            login_cache_seconds=self.cakemail_login_cache,
        )

    def lines(self) -> list[str]:
        """``NAME=value`` for every setting in effect. None of them is a secret."""
        shown: dict[str, object] = dict(self) | {"cakemail_auth_url": self.auth_url}
        if self.smtp_port is None:
            shown["smtp_port"] = "off"
        return [f"{name.upper()}={_shown(value)}" for name, value in shown.items()]


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


LIVE_NAMES: Final = frozenset(
    name.upper() for name, field in Settings.model_fields.items() if field.json_schema_extra == LIVE
)


def environment(env_file: Path = Path(".env")) -> dict[str, str]:
    """The variables of the process over those of ``.env``.

    Raises:
        ConfigurationError: a line of the file cannot be read.
    """
    return file_variables(env_file) | dict(os.environ)  # noqa: TID251  # the only reader


def live(variables: Mapping[str, str], path: Path) -> Settings:
    """Settings with what the live file says on top.

    Raises:
        ConfigurationError: the file is missing or unreadable, names a setting that cannot change
            while the gateway runs, or gives one a wrong value.
    """
    if not path.is_file():
        raise ConfigurationError([f"{path}: there is no such file"])
    given = file_variables(path)
    fixed = sorted(given.keys() - LIVE_NAMES)
    if fixed:
        raise ConfigurationError([f"{path}: {name} cannot change here" for name in fixed])
    return load({**variables, **given})[0]


def file_variables(path: Path) -> dict[str, str]:
    """Variables of a ``.env`` file; what is no file (a virtual environment, say) holds none."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read as UTF-8 text"]) from error
    # The library leaves these lines out with no more than a warning.
    problems = [
        f"{path}: line {binding.original.line} is not NAME=value"
        for binding in parse_stream(StringIO(text))
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    if problems:
        raise ConfigurationError(problems)
    found = dotenv_values(stream=StringIO(text))
    return {name: value for name, value in found.items() if value is not None}


def load(variables: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Settings from variables, and notes about variables that were left aside.

    Raises:
        ConfigurationError: one line per missing, malformed or misspelt variable.
    """
    known = {name.upper() for name in Settings.model_fields}
    ours, notes = {}, []
    problems = []
    for name, value in variables.items():
        if _is_service_link(name, value):
            if name.startswith(FAMILIES):
                notes.append(f"{name} comes from a Kubernetes service link and is left aside")
        elif name in known:
            ours[name.lower()] = value
        elif _is_meant(name, known):
            problems.append(f"{name}: is unknown{_suggestion(name, known)}")
    # An empty variable means what an absent one means: manifests often set "" for "default".
    given = {name: value for name, value in ours.items() if value.strip()}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            problems += _lines(dict(fault))
        raise ConfigurationError(sorted(problems)) from None
    if problems:
        raise ConfigurationError(sorted(problems))
    return settings, notes


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK_NAME.search(name) or _SERVICE_LINK_VALUE.match(value))


def _is_meant(name: str, known: set[str]) -> bool:
    """Whether an unknown name is one of ours, misspelt: of a family, or a letter or two away."""
    if name in FOREIGN:
        return False
    return name.startswith(FAMILIES) or bool(
        difflib.get_close_matches(name, known, n=1, cutoff=NEARLY_EQUAL)
    )


def _suggestion(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


_SENTENCES = {
    "missing": "is required",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "string_pattern_mismatch": "has not the form that the documentation gives",
}


def _lines(fault: dict[str, Any]) -> list[str]:
    """A line for a fault; pydantic's sentences hold the rule, never the value."""
    sentence = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:  # a rule between fields; each line of it names them itself
        return sentence.splitlines()
    sentence = sentence.replace("Input should be", "must be", 1)
    return [f"{str(fault['loc'][0]).upper()}: {_SENTENCES.get(str(fault['type']), sentence)}"]
