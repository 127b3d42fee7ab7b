"""Clusters come and go, and the machine is as before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, sweep
from tests.cluster.commands import wait_until
from tests.cluster.images import Image
from tests.cluster.ownership import InUse
from tests.cluster.settings import state_folder
from tests.cluster.tests.conftest import StartCluster
from tests.cluster.tests.deployments import deploy_web, get
from tests.cluster.tests.machine_state import assert_machine_is_as, machine_state

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_ROOT = Path(__file__).parents[3]
_START = """
import sys, time
from tests.cluster.cluster import Cluster
cluster = Cluster("killed", progress=lambda line: print(line, flush=True))
cluster.up(1)
print("all up", flush=True)
time.sleep(600)
"""


def wait_until_both_answer(cluster: Cluster, address: str) -> None:
    """Ready pods are known to the proxy a moment later, one perhaps before the other."""
    answered: set[str] = set()

    def both() -> bool:
        answered.add(get(cluster, address))
        return len(answered) == 2

    wait_until("both pods answer", both, 60)


def test_pods_behind_a_service_answer_and_nothing_is_left_afterwards(web_image: Image) -> None:
    """The whole way there and back, and the machine is as it was."""
    before = machine_state("life")
    begin = time.monotonic()
    cluster = Cluster("life", progress=print)
    try:
        cluster.up(1)
        cluster.load_image(web_image)
        address = deploy_web(cluster)
        print(f"nothing -> two pods answer behind a Service: {time.monotonic() - begin:.1f} s")
        wait_until_both_answer(cluster, address)
    finally:
        begin = time.monotonic()
        cluster.down()
        print(f"down: {time.monotonic() - begin:.1f} s")
    assert_machine_is_as(before, "life")


@pytest.mark.parametrize("last_line", ["network:", "control plane:", "all up"])
@pytest.mark.parametrize("remedy", ["down", "sweep"])
def test_a_killed_owner_leaves_nothing_that_the_next_command_does_not_clear(
    last_line: str, remedy: str
) -> None:
    """Whenever the owner dies, its cluster is found and cleared."""
    before = machine_state("killed")
    owner = subprocess.Popen(
        [sys.executable, "-c", _START], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    assert owner.stdout is not None
    while not owner.stdout.readline().startswith(last_line):
        assert owner.poll() is None
    if last_line != "network:":
        with pytest.raises(InUse):
            Cluster("killed").down()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert (state_folder() / "killed").exists()
    begin = time.monotonic()
    Cluster("killed").down() if remedy == "down" else sweep()
    print(f"cleared: {time.monotonic() - begin:.1f} s")
    assert_machine_is_as(before, "killed")


def test_two_runs_live_side_by_side(start_cluster: StartCluster) -> None:
    """Equal addresses in two runs never meet."""
    one, two = start_cluster(), start_cluster()
    for cluster in (one, two):
        cluster.kubectl("create", "namespace", cluster.name)
        assert get(cluster, deploy_web(cluster)).startswith("web-")
    assert two.name not in one.kubectl("get", "namespaces", "--output=name")
    one.down()
    assert get(two, deploy_web(two)).startswith("web-")
