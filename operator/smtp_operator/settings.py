"""Start-up settings: the only reader of the environment, read once, then frozen.

A variable that is missing, malformed or misspelt stops the start with one line per fault and
without its value. What users wish of their fleets stands in SmtpGateway objects, never here.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from smtp_operator.errors import ConfigurationError

FAMILIES = ("OPERATOR_", "GATEWAY_", "WATCH_", "LEASE_", "RESYNC_", "ROLLOUT_")
_TERM = r"(!?[\w./-]+|[\w./-]+!?=[\w.-]*)"
SELECTOR = rf"^({_TERM}(,{_TERM})*)?$"
LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"

# Kubernetes puts SMTP_OPERATOR_PORT=tcp://... into pods that do not switch service links off.
_SERVICE_LINK_NAME = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP)(_\w+)?$")
_SERVICE_LINK_VALUE = re.compile(r"^(tcp|udp)://")


def _words(value: object) -> object:
    if isinstance(value, str):
        return [word for word in re.split(r"[,\s]+", value) if word]
    return value


Label = Annotated[str, Field(pattern=LABEL)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(_words)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Percent = Annotated[int, Field(ge=1, le=100)]


class Settings(BaseModel):
    """Each field is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    gateway_image: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        description="Image of the gateway released with this operator."
    )
    pod_namespace: Label = Field(description="Namespace of this pod; the Lease lives there.")
    pod_name: str = Field(
        default_factory=platform.node, description="Name of this pod. Default: the machine's."
    )
    watch_namespaces: Labels = Field(
        default=(), description="Namespaces to serve. Empty: the whole cluster."
    )
    watch_secrets: bool | None = Field(
        default=None,
        description="Whether Secrets are watched. Empty: only when namespaces are named.",
    )
    watch_selector: Annotated[str, Field(max_length=512, pattern=SELECTOR)] = Field(
        default="",
        description="Labels of the SmtpGateways to serve: `a=b`, `a!=b`, `a`, `!a`, with commas "
        "between. Empty: all.",
    )
    lease_name: Label = Field(default="smtp-operator", description="Name of the election's Lease.")
    http_host: str = Field(
        default="", description="Address of health and metrics. Empty: all, IPv4 and IPv6."
    )
    http_port: Port = Field(default=8080, description="Port of health and metrics.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="`json` or `console`."
    )
    operator_workers: Annotated[int, Field(ge=2, le=64)] = Field(
        default=8, description="Gateways looked at at once; one worker is kept for users' edits."
    )
    operator_stop_seconds: Seconds = Field(
        default=5, description="Seconds that running work may take after SIGTERM."
    )
    resync_seconds: Annotated[float, Field(ge=30)] = Field(
        default=600, description="Seconds after which each gateway is looked at anew, with jitter."
    )
    resync_secrets_seconds: Annotated[float, Field(ge=10)] = Field(
        default=300, description="The same where Secrets are not watched."
    )
    operator_requests_per_second: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=50, description="Requests to the API server a second."
    )
    operator_requests_burst: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Requests at once after a rest."
    )
    rollout_budget_percent: Percent = Field(
        default=10, description="Share of fleets that an upgrade rolls at a time; at least one."
    )
    rollout_hold: bool = Field(
        default=False, description="Stop all rollouts that an operator upgrade causes."
    )
    rollout_soak_seconds: Annotated[float, Field(ge=0)] = Field(
        default=300, description="Seconds that wave 0 must be ready before the next begins."
    )

    @model_validator(mode="before")
    @classmethod
    def _upper_case_level(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("log_level"), str):
            return values | {"log_level": values["log_level"].upper()}
        return values

    @property
    def clusterwide(self) -> bool:
        """Whether all namespaces are served."""
        return not self.watch_namespaces

    @property
    def secrets_watched(self) -> bool:
        """RBAC knows no metadata-only right, so a whole cluster's Secrets are not watched."""
        return self.watch_secrets if self.watch_secrets is not None else not self.clusterwide

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an SmtpGateway with these labels is ours to serve."""
        return all(_holds(term, labels) for term in self.watch_selector.split(",") if term)

    @property
    def look_again_seconds(self) -> float:
        """How long a gateway is trusted to be as it was seen."""
        if self.secrets_watched:
            return self.resync_seconds
        return min(self.resync_seconds, self.resync_secrets_seconds)

    def lines(self) -> list[str]:
        """``NAME=value`` for every setting in effect. None of them is a secret."""
        return [f"{name.upper()}={_shown(value)}" for name, value in dict(self).items()]


def _holds(term: str, labels: Mapping[str, str]) -> bool:
    name, equals, value = term.partition("=")
    if not equals:
        return term[1:] not in labels if term.startswith("!") else term in labels
    if name.endswith("!"):
        return labels.get(name[:-1]) != value
    return labels.get(name) == value


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def from_environment() -> tuple[Settings, list[str]]:
    """Read the process environment; see ``load``."""
    return load(dict(os.environ))  # noqa: TID251  # the only reader


def load(variables: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Settings from variables, and notes about variables that were left aside.

    Raises:
        ConfigurationError: one line per missing, malformed or misspelt variable.
    """
    known = {name.upper() for name in Settings.model_fields}
    ours, notes, problems = {}, [], []
    for name, value in variables.items():
        if name in known:
            ours[name.lower()] = value
        elif _is_service_link(name, value):
            if name.startswith(FAMILIES):
                notes.append(f"{name} comes from a Kubernetes service link and is left aside")
        elif name.startswith(FAMILIES):
            problems.append(f"{name}: is unknown{_suggestion(name, known)}")
    # An empty variable means what an absent one means: manifests often set "" for "default".
    given = {name: value for name, value in ours.items() if value.strip()}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        problems += [_line(dict(fault)) for fault in faults]
        raise ConfigurationError(sorted(problems)) from None
    if problems:
        raise ConfigurationError(sorted(problems))
    return settings, notes


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK_NAME.search(name) or _SERVICE_LINK_VALUE.match(value))


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


def _line(fault: dict[str, Any]) -> str:
    """A line for a fault; pydantic's sentences hold the rule, never the value."""
    sentence = str(fault["msg"]).removeprefix("Value error, ")
    sentence = sentence.replace("Input should be", "must be", 1)
    return f"{str(fault['loc'][0]).upper()}: {_SENTENCES.get(str(fault['type']), sentence)}"
