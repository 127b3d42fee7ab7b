"""What an installation of the operator consists of, whoever rendered it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.commands import run
from tests.support.kubernetes import Kubernetes

MANIFESTS = Path(__file__).parents[2] / "manifests"
BASE = MANIFESTS / "kustomize" / "base"
OPERATOR_CHART = MANIFESTS / "helm" / "smtp-operator"

Object = Mapping[str, Any]


def documents(text: str) -> list[Object]:
    """The objects of a stream of YAML; empty documents are left out."""
    return [item for item in yaml.safe_load_all(text) if item]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """The only object of this kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    """All objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


def container_of(deployment: Object) -> Object:
    """The only container."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    found: Object = container
    return found


class Helm:
    """The program, for one cluster."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._program = kubernetes.program("helm")
        self._target = f"--kubeconfig={kubernetes.kubeconfig}"

    def __call__(self, *argv: str | Path, values: Mapping[str, Any] | None = None) -> str:
        """Its output. Values go in by its standard input: JSON is YAML.

        Raises:
            CommandFailed: it ended with another status than 0.
        """
        more = [] if values is None else ["--values=-"]
        stdin = None if values is None else json.dumps(values)
        return run(self._program, self._target, *argv, *more, stdin=stdin, timeout=300)
