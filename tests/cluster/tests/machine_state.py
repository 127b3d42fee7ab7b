"""What a cluster must leave as it was on this machine."""

from __future__ import annotations

import subprocess
import time

_PROGRAMS = "kube|etcd|containerd|pause|coredns|kwok|metrics|cert-manager|nsenter|unshare"
_PATIENCE_SECONDS = 60
_COMMANDS = {
    "addresses": "ip -o address | sed 's/ [a-z_]*_lft .*//'",
    "routes": "ip route; ip -6 route; ip rule",
    "rules": "nft list ruleset",
    "network namespaces": "lsns --noheadings --output NS --type net",
    "mount namespaces": "lsns --noheadings --output NS --type mnt",
    "mounts": "cut -d' ' -f5 /proc/self/mountinfo",
    "control groups": "find /sys/fs/cgroup -type d -name 'localcluster-NAME'",
    "settings": "sysctl vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops"
    " kernel.keys net.ipv4.ip_forward net.netfilter 2>/dev/null | grep -v nf_conntrack_count",
    "folders": "ls /run /var/lib /var/log /etc /run/containerd /var/lib/cni /opt 2>&1",
    "state": "ls -d /var/tmp/localcluster/NAME* 2>&1",
    # In brackets: dead or dying, kept by the kernel until somebody buries them.
    "processes": "ps -eo args= | grep -v '^\\[' | awk '{print $1}'"
    f" | grep -E '(^|/)({_PROGRAMS})'",
}


def machine_state(run: str) -> dict[str, list[str]]:
    """All that a run of this name could have changed, as text."""
    return {what: _lines(command.replace("NAME", run)) for what, command in _COMMANDS.items()}


def _lines(command: str) -> list[str]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return sorted(done.stdout.splitlines())


def assert_machine_is_as(before: dict[str, list[str]], run: str) -> None:
    """Nothing differs. The dead are buried by the machine's first process, in its own time."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := _changes(before, run)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found == {}, found


def _changes(before: dict[str, list[str]], run: str) -> dict[str, set[str]]:
    now = machine_state(run)
    found = {what: set(before[what]) ^ set(now[what]) for what in before}
    return {what: lines for what, lines in found.items() if lines}
