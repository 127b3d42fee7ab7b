"""The local cluster from a shell."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster import images, packages, preflight, programs
from tests.cluster.addons import ADDONS, enable
from tests.cluster.cluster import Cluster
from tests.cluster.commands import ClusterError
from tests.cluster.settings import variable

_PROGRAM = "python -m tests.cluster"


def _say(line: object) -> None:
    print(line, flush=True)


def _preflight(_: argparse.Namespace) -> int:
    found = preflight.problems()
    for name in preflight.CHECKS:
        _say(f"{name}: {found.get(name, 'ok')}")
    return 1 if found else 0


def _build(arguments: argparse.Namespace) -> int:
    packages.install()
    chosen = {part.name: part for part in programs.ALL}
    names = list(chosen) if arguments.all else [programs.KUBERNETES.name, *arguments.part]
    for name in dict.fromkeys(names):
        if not chosen[name].cached():
            _say(f"building {name}, which takes minutes")
        begin = time.monotonic()
        _say(f"{chosen[name].build()}: {time.monotonic() - begin:.1f} s")
    images.pause()
    if arguments.all or arguments.base:
        images.python_base()
    return 0


def _up(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name, progress=_say)
    if not arguments.fresh and cluster.detached and cluster.whole(arguments.nodes):
        _say(f"{arguments.name} is already up")
    else:
        cluster.up(arguments.nodes)
        cluster.detach()
    lacking = [name for name in arguments.addon if not enable(cluster, name)]
    _explain(cluster)
    return 1 if lacking else 0


def _explain(cluster: Cluster) -> None:
    this = f"{sys.executable} -m tests.cluster --name {cluster.name}"
    _say(f"""
export KUBECONFIG={cluster.host_kubeconfig}      # for any program of this machine
{cluster.programs}/kubectl get nodes
{this} run kubectl get pods -A    # in the cluster's network: reaches Services and pods
{this} down""")


def _down(arguments: argparse.Namespace) -> int:
    Cluster(arguments.name).down()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name)
    state = cluster.status()
    for machine, daemons in state.items():
        words = [f"{name} {'up' if alive else 'ENDED'}" for name, alive in daemons.items()]
        _say(f"{machine}: {', '.join(words) or 'off'}")
    if not state:
        _say(f"there is no cluster {arguments.name}")
    return 0 if cluster.whole(1) else 1


def _kubeconfig(arguments: argparse.Namespace) -> int:
    _say(Cluster(arguments.name).host_kubeconfig)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    shell = [variable("SHELL") or "/bin/sh"]
    command = Cluster(arguments.name).command(*(arguments.command or shell))
    os.execvp(command[0], command)  # noqa: S606  # the point: become that program


def _publish(arguments: argparse.Namespace) -> int:
    _say(f"127.0.0.1:{Cluster(arguments.name).publish(arguments.address, arguments.port)}")
    return 0


def _build_image(arguments: argparse.Namespace) -> int:
    pairs = dict(argument.split("=", 1) for argument in arguments.build_arg)
    _say(images.build(arguments.context, arguments.tag, arguments.file, pairs).archive)
    return 0


def _load_image(arguments: argparse.Namespace) -> int:
    Cluster(arguments.name).load_image(arguments.archive)
    return 0


def _node_add(arguments: argparse.Namespace) -> int:
    _say(Cluster(arguments.name).add_node())
    return 0


def _node(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name)
    actions: Mapping[str, Callable[[str], None]] = {
        "lose": cluster.lose_node,
        "cut": cluster.cut_node,
        "mend": cluster.mend_node,
    }
    actions[arguments.action](arguments.node)
    return 0


def _addon(arguments: argparse.Namespace) -> int:
    cluster = Cluster(arguments.name, progress=_say)
    lacking = [name for name in arguments.addon if not enable(cluster, name)]
    return 1 if lacking else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument(
        "--name", default="dev", help="of the run; clusters of different names live side by side"
    )
    commands = parser.add_subparsers(required=True)

    def command(
        name: str, call: Callable[[argparse.Namespace], int], about: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about)
        made.set_defaults(call=call)
        return made

    command("preflight", _preflight, "can this machine carry it?")
    _add_life(command)
    _add_use(command)
    return parser


_AddCommand = Callable[
    [str, Callable[[argparse.Namespace], int], str],
    argparse.ArgumentParser,
]


def _add_life(command: _AddCommand) -> None:
    build = command("build", _build, "build and cache the programs, without starting anything")
    build.add_argument("part", nargs="*", choices=[[], *(part.name for part in programs.ALL)])
    build.add_argument("--base", action="store_true", help="the Python base image too")
    build.add_argument("--all", action="store_true", help="every part and the Python base image")

    up = command("up", _up, "have one running; starts it when it is not there or not whole")
    up.add_argument("--nodes", type=int, default=1)
    up.add_argument("--addon", action="append", default=[], choices=sorted(ADDONS))
    up.add_argument("--fresh", action="store_true", help="replace one that is running")

    command("down", _down, "end it and leave nothing")
    command("status", _status, "what is running")


def _add_use(command: _AddCommand) -> None:
    command("kubeconfig", _kubeconfig, "print the path of the administrator's")

    shell = command("run", _run, "a program, or a shell, in the cluster's network")
    shell.add_argument("command", nargs=argparse.REMAINDER)

    publish = command("publish", _publish, "a port of this machine that leads to one inside")
    publish.add_argument("address")
    publish.add_argument("port", type=int)

    image = command("build-image", _build_image, "build a Dockerfile; prints the archive")
    image.add_argument("context", type=Path)
    image.add_argument("tag")
    image.add_argument("--file", type=Path)
    image.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")

    load = command("load-image", _load_image, "an OCI archive into every node")
    load.add_argument("archive", type=Path)

    actions = command("node", _node, "add one; lose one (power off), cut or mend its network")
    choices = actions.add_subparsers(required=True, dest="action")
    choices.add_parser("add").set_defaults(call=_node_add)
    for action in ("lose", "cut", "mend"):
        choices.add_parser(action).add_argument("node")

    addon = command("addon", _addon, "enable in a running cluster")
    addon.add_argument("addon", nargs="+", choices=sorted(ADDONS))


def main() -> int:
    """Do what the command line says; 0 when it worked."""
    arguments = _parser().parse_args()
    try:
        return int(arguments.call(arguments))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
