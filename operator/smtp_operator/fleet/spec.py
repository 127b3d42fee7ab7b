"""From the ``spec`` that the API server holds to a typed one, or to a sentence that helps.

The API server has checked the same already, unless the object was stored under an older schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from smtp_operator.errors import SpecInvalid
from smtp_operator.fleet.fields import (
    FORMS,
    HEALTH_PORT,
    HEALTH_PORT_NAME,
    Alerts,
    Authentication,
    Autoscaling,
    Cakemail,
    CertManager,
    ConfigMapRef,
    Disruption,
    Drain,
    IssuerRef,
    JsonObject,
    Limits,
    Listener,
    Lockout,
    Logging,
    Monitoring,
    NetworkPolicy,
    PodMetadata,
    PodTemplate,
    ProxyProtocol,
    Resources,
    Rollout,
    Scheduling,
    SelfSigned,
    Service,
    ServiceMonitor,
    Spec,
    Tls,
    Tracking,
)
from smtp_operator.fleet.rules import NAME_MESSAGE, faults, name_fits

__all__ = [
    "HEALTH_PORT",
    "HEALTH_PORT_NAME",
    "Alerts",
    "Authentication",
    "Autoscaling",
    "Cakemail",
    "CertManager",
    "ConfigMapRef",
    "Disruption",
    "Drain",
    "IssuerRef",
    "JsonObject",
    "Limits",
    "Listener",
    "Lockout",
    "Logging",
    "Monitoring",
    "NetworkPolicy",
    "PodMetadata",
    "PodTemplate",
    "ProxyProtocol",
    "Resources",
    "Rollout",
    "Scheduling",
    "SelfSigned",
    "Service",
    "ServiceMonitor",
    "Spec",
    "Tls",
    "Tracking",
    "check_name",
    "read_spec",
]

SENTENCES = {  # pydantic's kinds of error; the rest keep pydantic's own words
    "missing": "is required",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "tuple_type": "must be a list",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be shorter than {min_length} characters",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_pattern_mismatch": "must be {form}",
    "too_short": "needs at least {min_length}",
    "too_long": "must have at most {max_length} entries",
    "value_error": "{error}",
}


def read_spec(raw: Mapping[str, Any]) -> Spec:
    """The typed spec, with every default filled in.

    Raises:
        SpecInvalid: each fault as ``spec.path: what to do``, separated by ``; ``. No value of a
            field is repeated.
    """
    try:
        # Strict in JSON's sense: lists become tuples, but a text never becomes a number.
        spec = Spec.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise SpecInvalid("; ".join(_line(fault) for fault in details)) from None
    found = [f"{path}: {message}" for path, message in faults(spec)]
    if found:
        raise SpecInvalid("; ".join(found))
    return spec


def check_name(name: str) -> None:
    """Whether children can be named after an SmtpGateway of this name.

    Raises:
        SpecInvalid: they cannot.
    """
    if not name_fits(name):
        raise SpecInvalid(f"metadata.name: {NAME_MESSAGE}")


def _line(fault: ErrorDetails) -> str:
    path = "spec"
    for step in fault["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in {"int", "str"}:  # the two branches of a number or text
            path += f".{step}"
    sentence = SENTENCES.get(fault["type"])
    if sentence is None:
        return f"{path}: {fault['msg']}"
    facts = fault.get("ctx", {})
    return f"{path}: {sentence.format(form=FORMS.get(facts.get('pattern', '')), **facts)}"
