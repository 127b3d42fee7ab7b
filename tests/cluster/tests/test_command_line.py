"""The cluster as a person uses it: commands that may be repeated, a kubeconfig for any program."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.commands import wait_until
from tests.cluster.tests.machine_state import assert_machine_is_as, machine_state

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[3]
NAME = f"person-{os.getpid()}"


def say(*words: str) -> tuple[int, str]:
    """Run a command; its status and what it printed."""
    command = [sys.executable, "-m", "tests.cluster", "--name", NAME, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def before(capable_machine: None) -> Iterator[dict[str, list[str]]]:
    """The machine without the cluster; afterwards it is as it was."""
    state = machine_state(NAME)
    yield state
    assert say("down") == (0, "")
    assert say("down") == (0, "")
    assert_machine_is_as(state, NAME)


@pytest.fixture(scope="module")
def running(before: dict[str, list[str]]) -> str:
    """What `up` printed."""
    status, printed = say("up")
    assert status == 0, printed
    return printed


def test_a_cluster_that_is_not_there_is_reported(before: dict[str, list[str]]) -> None:
    """By words and by status."""
    assert say("status") == (1, f"there is no cluster {NAME}\n")


def test_a_kubernetes_that_is_not_here_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line, before anything is built."""
    monkeypatch.setenv("LOCALCLUSTER_KUBERNETES", "1.9")

    refusal = "LOCALCLUSTER_KUBERNETES=1.9: there is 1.31 here; unset, the newest\n"
    assert say("preflight") == (1, refusal)


def test_up_is_repeatable(running: str) -> None:
    """A second time it starts nothing and says how to use what is there."""
    status, printed = say("up")

    assert status == 0
    assert printed.startswith(f"{NAME} is already up\n")
    assert "nodes Ready" in running
    assert "nodes Ready" not in printed


def test_status_lists_every_daemon(running: str) -> None:
    """All of them are up."""
    status, printed = say("status")

    assert status == 0
    assert printed.splitlines() == [
        "switch: kube-proxy up",
        "control-plane: etcd up, kube-apiserver up, kube-controller-manager up, kube-scheduler up",
        "node1: containerd up, kube-proxy up, kubelet up",
    ]


def test_the_kubeconfig_works_for_programs_of_this_machine(running: str) -> None:
    """As any cluster's would."""
    kubeconfig = say("kubeconfig")[1].strip()
    kubectl = next(line.split()[0] for line in running.splitlines() if "/kubectl" in line)
    command = [kubectl, f"--kubeconfig={kubeconfig}", "get", "nodes", "--output=name"]

    assert subprocess.run(command, capture_output=True, check=True).stdout == b"node/node1\n"


def test_programs_run_in_the_clusters_network(running: str) -> None:
    """Where the addresses of Services are reached."""
    assert say("run", "kubectl", "get", "--raw=/readyz") == (0, "ok")
    assert "10.99.0.254" in say("run", "ip", "-brief", "address")[1]


def test_an_address_inside_is_published(running: str) -> None:
    """Here the health port of the node's kube-proxy."""
    status, printed = say("publish", "10.99.0.11", "10256")
    assert status == 0

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://{printed.strip()}/healthz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused too, until kube-proxy has done its first work
            return False

    wait_until("kube-proxy says that it is healthy", healthy, 60)


def test_a_lost_node_shows_and_up_makes_the_cluster_whole(running: str) -> None:
    """Whoever says `up` gets what was asked for."""
    assert say("node", "lose", "node1") == (0, "")
    status, printed = say("status")
    assert status == 1
    assert "node1: off" in printed

    status, printed = say("up")

    assert status == 0
    assert "nodes Ready" in printed
    assert say("status")[0] == 0


def test_a_wrong_wish_is_told_in_one_line(running: str) -> None:
    """No traceback for what a person typed."""
    status, printed = say("load-image", "/no/such/archive")

    assert status == 1
    assert "Traceback" not in printed
