"""What must hold between fields, checked again.

Each rule has a twin in ``crds/smtpgateways.yaml``, a CEL expression with the same message: a test
compares them, and tries both on the same good and bad examples. A rule yields the paths at which
it is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

from smtp_operator.fleet.fields import QUANTITY, Spec

NAME_FORM = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
NAME_MESSAGE = (
    "name must be a DNS label of at most 40 characters that starts with a letter; "
    "Services are named after it"
)
COPIES = 4  # of the largest message that must fit into a pod's memory (smtp-server 4.7)
RESTING_BYTES = 128 * 1024**2  # what the gateway takes without any mail, and room to spare

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


_NUMBER = re.compile(QUANTITY)
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
