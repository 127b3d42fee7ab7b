"""``make bench-operator``: a thousand fleets on one operator, on a real API server.

Nodes and pods are fake (kwok), so that only the operator and the control plane are at work. The
status is 0 only if every fleet got Ready and the quiet resync wrote nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from smtp_operator.cluster.connection import Connection
from smtp_operator.fleet.model import Key
from smtp_operator.utils.tasks import TaskOwner
from tests.bench.operator.fleets import NAMESPACES, Edit, Witness, connected, create, keys
from tests.bench.operator.program import Counts, Program, operator
from tests.cluster.addons import fake_nodes
from tests.cluster.cluster import Cluster

CRD = Path(__file__).parents[3] / "crds" / "smtpgateways.yaml"
PODS_PER_NODE = 60  # a fake node has 32 cores, a pod asks for half a core
LIMIT_SECONDS = 3600.0
SETTLE_SECONDS = 5  # statuses of the last edits, gathered for half a second, and their Events
POLL_SECONDS = 0.5
JITTER = 1.2  # the resync's upper factor


class Bench:
    """One run over one cluster."""

    def __init__(self, connection: Connection, cluster: Cluster, args: argparse.Namespace) -> None:
        self._connection, self._cluster = connection, cluster
        self._keys = keys(args.count)
        self._edits: int = args.edits
        self._resync: int = args.resync
        self._log = cluster.run.folder / "operator.log"
        self._recipients = 100
        self._owner = TaskOwner(self._failed)
        self.faults: list[str] = []

    def _failed(self, name: str, failure: BaseException) -> None:
        self.faults.append(f"{name}: {failure!r}")

    async def run(self) -> None:
        """All phases, each a few lines of the table."""
        print(f"\n| {len(self._keys)} fleets | |\n|---|---|", flush=True)
        await self._new_fleets()
        await self._restart()

    async def _new_fleets(self) -> None:
        """Made all at once, with the operator running."""
        witness = Witness(self._connection)
        with operator(self._cluster.host_kubeconfig, self._log, self._resync) as program:
            watching = self._owner.spawn(witness.run(), name="witness")
            await self._until(program, lambda: self._leading(program), "it leads")
            first = self._keys[: self._edits]
            await create(self._connection, first)
            await self._until(program, lambda: len(witness.ready) == len(first), "the first fleets")
            self._row("edit to child, quiet", _spread(await self._edit(witness, first)))
            before, cpu, began = await self._counts(program), program.use(), time.monotonic()
            rest = self._keys[self._edits :]
            making = self._owner.spawn(create(self._connection, rest), name="users")
            edits = await self._edit(witness, first)
            self._row("edit to child, while the others are made", _spread(edits))
            await making
            await self._until(program, lambda: len(witness.told) == len(self._keys), "statuses")
            self._row(f"status of {len(rest)} new fleets written after", _since(began))
            await self._until(program, lambda: len(witness.ready) == len(self._keys), "Ready")
            self._row("all Ready after", _since(began))
            after, now = await self._counts(program), program.use()
            each = _requests(before, after) / max(1, len(rest))
            self._row("requests for each, first to Ready", f"{each:.1f}")
            self._row("CPU", f"{now.cpu_seconds - cpu.cpu_seconds:.0f} s")
            self._row("memory, highest", f"{now.peak_bytes / 1e6:.0f} MB")
            await _cancelled(watching)

    async def _restart(self) -> None:
        """A process that knows nothing, over fleets that are at rest; then its quiet resync."""
        witness = Witness(self._connection)
        watching = self._owner.spawn(witness.run(), name="witness")
        with operator(self._cluster.host_kubeconfig, self._log, self._resync) as program:
            began = time.monotonic()
            await self._until(program, lambda: self._leading(program), "it leads")
            edits = await self._edit(witness, self._keys[: self._edits])
            self._row("edit to child, during a restart's first looks", _spread(edits))
            await self._until(program, lambda: self._seen(program), "all looked at again")
            self._row(f"restart: {len(self._keys)} fleets looked at after", _since(began))
            self._row("CPU", f"{program.use().cpu_seconds:.0f} s")
            self._row("memory, highest", f"{program.use().peak_bytes / 1e6:.0f} MB")
            await self._quiet_resync(program)
            edits = await self._edit(witness, self._keys[: self._edits])
            self._row("edit to child, during a resync", _spread(edits))
        await _cancelled(watching)

    async def _quiet_resync(self, program: Program) -> None:
        """Every fleet is looked at once more; nobody edits."""
        await asyncio.sleep(SETTLE_SECONDS)
        before, cpu, began = await self._counts(program), program.use(), time.monotonic()
        await self._looks(program, before, len(self._keys))
        await asyncio.sleep(max(0.0, self._resync * JITTER - (time.monotonic() - began)))
        after, now = await self._counts(program), program.use()
        wrote = max(after.writes - before.writes, after.sent - before.sent)
        self._row(f"quiet resync: looks in {_since(began)}", str(after.looks - before.looks))
        self._row("writes in it", str(wrote))
        self._row("CPU in it", f"{now.cpu_seconds - cpu.cpu_seconds:.0f} s")
        if wrote:
            self.faults.append(f"in a quiet resync: {after.detail - before.detail}")

    async def _edit(self, witness: Witness, chosen: Sequence[Key]) -> list[Edit]:
        """One edit of each, one after the other."""
        self._recipients += 1
        return [await witness.edit(key, self._recipients) for key in chosen]

    async def _looks(self, program: Program, since: Counts, number: int) -> None:
        async def enough() -> bool:
            return (await self._counts(program)).looks - since.looks >= number

        await self._until(program, enough, "as many looks")

    async def _seen(self, program: Program) -> bool:
        return (await self._counts(program)).gateways >= len(self._keys)

    async def _leading(self, program: Program) -> bool:
        try:
            return (await self._counts(program)).leading
        except OSError:
            return False  # it does not listen yet

    async def _until(self, program: Program, holds: Callable[[], object], what: str) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while True:
            answer = holds()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            if time.monotonic() > end or not program.alive() or self.faults:
                print(self._log.read_text(encoding="utf-8"), *self.faults, file=sys.stderr)
                sys.exit(f"bench: not reached: {what}")
            await asyncio.sleep(POLL_SECONDS)

    async def _counts(self, program: Program) -> Counts:
        return await program.counts(await self._api())

    async def _api(self) -> str:
        command = ("get", "--raw", "/metrics")
        return await asyncio.to_thread(self._cluster.kubectl, *command)

    def _row(self, what: str, value: str) -> None:
        print(f"| {what} | {value} |", flush=True)


def _requests(before: Counts, after: Counts) -> int:
    events = (after.sent - before.sent) - (after.writes - before.writes)
    return after.reads - before.reads + after.writes - before.writes + max(0, events)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _spread(edits: Sequence[Edit]) -> str:
    acted = [edit.seen - edit.answered for edit in edits]
    whole = _p99([edit.seen for edit in edits])
    rest = f"most {max(acted):.2f} s (with the patch itself: p99 {whole:.2f} s)"
    return f"p50 {statistics.median(acted):.2f} s, p99 {_p99(acted):.2f} s, {rest}"


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1]


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _main(cluster: Cluster, args: argparse.Namespace) -> list[str]:
    async with connected(cluster.host_kubeconfig) as connection:
        bench = Bench(connection, cluster, args)
        await bench.run()
    return bench.faults


def _prepared(cluster: Cluster, count: int) -> None:
    cluster.up(1)
    fake_nodes.enable(cluster)
    fake_nodes.add(cluster, math.ceil(count / PODS_PER_NODE) + 1, PODS_PER_NODE)
    crd = CRD.read_text(encoding="utf-8")
    cluster.kubectl("apply", "--server-side", "--filename=-", stdin=crd)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s",
                    "crd/smtpgateways.smtp.cakemail.com")  # fmt: skip
    for name in ("smtp-operator", *(f"fleets-{n}" for n in range(NAMESPACES))):
        cluster.kubectl("create", "namespace", name)


def main() -> None:
    """Read the arguments, measure, say what fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="fleets")
    parser.add_argument("--edits", type=int, default=100, help="edits in each phase")
    parser.add_argument("--resync", type=int, default=120, help="seconds (RESYNC_SECONDS)")
    parser.add_argument("--name", default="bench-operator", help="of the cluster's run")
    args = parser.parse_args()
    cluster = Cluster(args.name, lambda step: print(step, file=sys.stderr))
    try:
        _prepared(cluster, args.count)
        faults = asyncio.run(_main(cluster, args))
    finally:
        cluster.down()
    sys.exit("\n".join(faults) if faults else 0)


if __name__ == "__main__":
    main()
