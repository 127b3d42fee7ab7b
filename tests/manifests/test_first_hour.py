"""A platform engineer's first hour: what README and the manifests' page say, typed as it stands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.commands import CommandFailed, run, wait_until
from tests.cluster.settings import variable
from tests.end_to_end.fleet import GATEWAYS, ManagedFleet
from tests.support.gateways import CRD_NAME
from tests.support.images import archive_of
from tests.support.kubernetes import Kubernetes
from tests.support.pages import ROOT, Step, as_shown, fences, section, steps

REFUSALS = ("Error from server", "is invalid")

pytestmark = [
    pytest.mark.needs("pods", "images", "dns"),
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("nobody_operates"),
]


@dataclass(frozen=True)
class Terminal:
    """A shell in a folder that looks like the repository, with kubectl and a current namespace."""

    kubernetes: Kubernetes
    namespace: str
    folder: Path

    def prepare(self) -> None:
        """The manifests, kubectl, and a kubeconfig whose current namespace is the test's."""
        (self.folder / "manifests").symlink_to(ROOT / "manifests")
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "kubectl").symlink_to(self.kubernetes.program("kubectl"))
        shutil.copy(self.kubernetes.kubeconfig, self.folder / "kubeconfig")
        self.run(f"kubectl config set-context --current --namespace={self.namespace}")

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output; of a failure all of its output."""
        variables = {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "PATH": f"{self.folder / 'bin'}:{variable('PATH')}",
        }
        words = ("bash", "-o", "pipefail", "-c", command)
        try:
            return 0, run(*words, variables=variables, cwd=self.folder, timeout=330)
        except CommandFailed as failed:
            return failed.status, failed.output

    def take(self, step: Step) -> None:
        """One step of the page. It ends as the page shows; only what it shows refused fails."""
        status, output = self.run(step.command)
        here = tuple(line.replace(".default.svc", f".{self.namespace}.svc") for line in step.shown)
        refused = any(word in line for line in here for word in REFUSALS)
        assert (status != 0) == refused, f"{step.command}\n{output}"
        assert not here or as_shown(here, output), f"{step.command}\n{output}"


@pytest.fixture
def terminal(kubernetes: Kubernetes, namespace: str, tmp_path: Path) -> Terminal:
    """In the test's namespace."""
    made = Terminal(kubernetes, namespace, tmp_path)
    made.prepare()
    return made


def build(command: str, kubernetes: Kubernetes, folder: Path) -> str:
    """What a ``docker build`` of a page makes, on the nodes instead of in a registry."""
    words = command.split()
    assert words[:3] == ["docker", "build", "--file"]
    assert (words[4], words[6:]) == ("--tag", ["."])
    kubernetes.load_image(archive_of(words[3], words[5], folder))
    return words[5]


def test_the_first_hour_of_the_readme_goes_as_it_says(
    kubernetes: Kubernetes, terminal: Terminal, tmp_path: Path
) -> None:
    """Install, a first fleet, two mistakes and a missing Secret, edits, scaling, the end."""
    page = section("README.md", "A fleet on Kubernetes")
    typed = steps(page)
    docker = [step.command for step in typed if step.command.startswith("docker ")]
    built = [build(each, kubernetes, tmp_path) for each in docker if " build " in each]
    assert sorted(docker) == sorted(
        [each for each in docker if " build " in each] + [f"docker push {name}" for name in built]
    )
    (kustomization, *_) = fences(section("manifests/README.md", "Install with kustomize"))
    (tmp_path / "kustomization.yaml").write_text(kustomization.text, encoding="utf-8")

    kubectl = [step for step in typed if step.command not in docker]
    for step in kubectl:
        terminal.take(step)

    fleet = ManagedFleet(kubernetes, terminal.namespace)
    assert not fleet.there(f"{GATEWAYS}/mail")
    wait_until("all that was made is gone", lambda: not fleet.children(), 180)
    # A page without commands would pass all of this.
    assert [step.command.split()[1] for step in kubectl].count("patch") >= 4
    assert len(kubectl) >= 15


def gateways_of_all(kubernetes: Kubernetes) -> list[str]:
    """Namespaces of tests before this one may still be going."""
    return kubernetes.kubectl("get", GATEWAYS, "--all-namespaces", "--output=name").split()


@pytest.fixture
def empty_cluster(kubernetes: Kubernetes) -> Iterator[Kubernetes]:
    """Nobody has installed anything; a cluster in which somebody uses the kind is left alone."""
    if CRD_NAME in kubernetes.kubectl("get", "customresourcedefinitions", "--output=name"):
        wait_until("no SmtpGateway is left", lambda: not gateways_of_all(kubernetes), 180)
        kubernetes.kubectl("delete", f"crd/{CRD_NAME}", "--timeout=110s")
    yield kubernetes
    # With pods in it that have time to end, a namespace is looked at again only after half of it.
    fleet = ManagedFleet(kubernetes, "mail", "smtp")
    fleet.kubectl("delete", "--ignore-not-found", f"{GATEWAYS}/smtp")
    wait_until("its pods have ended", lambda: not fleet.pods(), 180)
    kubernetes.kubectl("delete", "namespace/mail", "--ignore-not-found", "--timeout=110s")


def test_the_demo_comes_up_on_an_empty_cluster_by_the_commands_of_its_page(
    empty_cluster: Kubernetes, terminal: Terminal, loaded_images: list[str]
) -> None:
    """Definition, operator, sandbox and a fleet that is Ready; in one go kubectl cannot do it."""
    assert len(loaded_images) == 3
    demo = "kubectl apply --server-side --kustomize manifests/kustomize/demo"
    status, output = terminal.run(f"{demo} --dry-run=server")
    assert status != 0
    assert "smtpgateway" in output.lower()

    typed = steps(section("manifests/README.md", "Try it with the sandbox"))
    for step in typed:
        terminal.take(step)

    assert demo in [step.command for step in typed]
    fleet = ManagedFleet(empty_cluster, "mail", "smtp")
    assert fleet.condition("Ready")["status"] == "True"
    assert fleet.there("deployment/cakemail-sandbox")
