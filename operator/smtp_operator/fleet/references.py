"""Which Secrets and ConfigMaps a spec names: what ``observe`` reads and what checks look for."""

from __future__ import annotations

from typing import NamedTuple

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Gateway

PULL_KEYS = ((".dockerconfigjson", ".dockercfg"),)  # the present form and the old one


class Reference(NamedTuple):
    """One named object.

    Attributes:
        name: in the gateway's namespace.
        keys: that it must have; of each group one will do.
        field: where the spec names it.
    """

    name: str
    keys: tuple[tuple[str, ...], ...]
    field: str


def credentials(gateway: Gateway) -> tuple[Reference, ...]:
    """Referenced Secrets, the certificate's apart."""
    return tuple(
        Reference(secret, PULL_KEYS, f"spec.imagePullSecrets[{place}]")
        for place, secret in enumerate(gateway.spec.image_pull_secrets)
    )


def config_maps(gateway: Gateway) -> tuple[Reference, ...]:
    """Referenced ConfigMaps."""
    ref = gateway.spec.cakemail.ca_config_map_ref
    return (Reference(ref.name, ((ref.key,),), "spec.cakemail.caConfigMapRef"),) if ref else ()


def secret_names(gateway: Gateway) -> frozenset[str]:
    """Every Secret that a decision reads; ``Facts.secrets`` has exactly these names."""
    named = {reference.name for reference in credentials(gateway)}
    own = {names.ca(gateway.key)} if gateway.spec.tls.self_signed is not None else set()
    return frozenset(named | own | {names.tls_secret(gateway)})


def config_map_names(gateway: Gateway) -> frozenset[str]:
    """Every ConfigMap that a decision reads; ``Facts.config_maps`` has exactly these names."""
    return frozenset(reference.name for reference in config_maps(gateway))
