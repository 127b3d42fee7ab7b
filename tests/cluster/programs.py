"""Go programs, built from their modules when first needed and cached by what they are built from.

Module proxy and checksum database are the machine's settings: whatever `go env` says. Nothing here
changes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.commands import ClusterError, run
from tests.cluster.settings import cache_folder, variable

_HERE = Path(__file__).parent
_BUILD_LIMIT = 1800.0


@dataclass(frozen=True)
class GoPrograms:
    """What one module folder (go.mod, go.sum, perhaps a main.go) builds."""

    folder: Path
    packages: Mapping[str, str]
    """Package by the name of the program that it becomes."""
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names of a program that chooses its task by its name."""
    module_folders: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Module and folder in it that are copied to this name beside the programs."""
    version_of: str = ""
    """Module whose version the programs show as theirs."""
    version_variables: Mapping[str, str] = field(default_factory=dict)
    """Linker variables; {version}, {major} and {minor} are filled in."""
    modfile: str = "go.mod"
    """Which of the folder's lists of modules it is built from."""

    @property
    def name(self) -> str:
        """Of the module folder."""
        return self.folder.name

    def version(self) -> str:
        """What the programs show as theirs, e.g. v1.36.3."""
        return self._version(self.version_of)

    def _version(self, module: str) -> str:
        modules = self.folder / self.modfile
        found = re.search(
            rf"^\s*(?:require )?{re.escape(module)} (v\S+)", modules.read_text(), re.MULTILINE
        )
        if not found:
            raise ClusterError(f"{modules} requires no {module}")
        return found[1]

    def _build_flags(self) -> list[str]:
        stamp = ["-s", "-w"]
        if self.version_of:
            version = self.version()
            major, minor = version.removeprefix("v").split(".")[:2]
            for variable, value in self.version_variables.items():
                stamp += [
                    "-X",
                    f"{variable}={value.format(version=version, major=major, minor=minor)}",
                ]
        # netgo, osusergo: static without cgo, so that an image may be FROM scratch.
        return [
            "-trimpath",
            "-buildvcs=false",
            f"-modfile={self.modfile}",
            "-tags=netgo,osusergo,grpcnotrace,notest",
            f"-ldflags={' '.join(stamp)}",
        ]

    def _key(self) -> str:
        digest = hashlib.sha256(run("go", "env", "GOVERSION").encode())
        modules = [self.folder / self.modfile, (self.folder / self.modfile).with_suffix(".sum")]
        sources = sorted([*self.folder.rglob("*.go"), *modules])
        for path in sources:
            digest.update(f"{path.relative_to(self.folder)}\0".encode() + path.read_bytes())
        digest.update(
            repr(
                (self._build_flags(), sorted(self.packages.items()), sorted(self.links.items()))
            ).encode()
        )
        return digest.hexdigest()[:12]

    def _result(self) -> Path:
        return cache_folder() / "programs" / f"{self.name}-{self._key()}"

    def cached(self) -> bool:
        """Whether `build` has nothing to do. Without a Go toolchain it has no answer: False."""
        return bool(shutil.which("go")) and self._result().exists()

    def build(self) -> Path:
        """The folder with the programs. Minutes when nothing is cached, milliseconds otherwise."""
        result = self._result()
        with locked(result.with_suffix(".lock")):
            if not result.exists():
                with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
                    unfinished = Path(scratch) / "bin"
                    self._build_into(unfinished)
                    unfinished.rename(result)
        return result

    def _build_into(self, target: Path) -> None:
        if not shutil.which("go"):
            raise ClusterError(
                f"no Go toolchain: install one that satisfies {self.folder / 'go.mod'}"
            )
        target.mkdir()
        for name, package in self.packages.items():
            output = f"-o={target / name}"
            run(
                *("go", "build", *self._build_flags(), output, package),
                variables={"CGO_ENABLED": "0"},
                cwd=self.folder,
                timeout=_BUILD_LIMIT,
            )
        for name, links in self.links.items():
            for link in links:
                (target / link).symlink_to(name)
        for name, (module, folder) in self.module_folders.items():
            source = run("go", "list", "-m", "-f={{.Dir}}", module, cwd=self.folder).strip()
            for file in (Path(source) / folder).glob("*.yaml"):
                (target / name).mkdir(exist_ok=True)
                (target / name / file.name).write_bytes(file.read_bytes())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One builder at a time, across processes; the lock ends with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Unstamped, Kubernetes calls itself v0.0.0 and checks of version skew fail.
_KUBERNETES_STAMP = {
    f"{package}.{variable}": value
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable, value in {
        "gitVersion": "{version}",
        "gitMajor": "{major}",
        "gitMinor": "{minor}",
    }.items()
}


def _kubernetes_modules() -> str:
    """The newest Kubernetes, or the minor that the environment names."""
    minor = variable("LOCALCLUSTER_KUBERNETES")
    files = {path.stem.partition("-")[2]: path.name for path in (_HERE / "kube").glob("go*.mod")}
    if minor not in files:
        others = ", ".join(sorted(filter(None, files)))
        sys.exit(f"LOCALCLUSTER_KUBERNETES={minor}: there is {others} here; unset, the newest")
    return files[minor]


KUBERNETES = GoPrograms(
    folder=_HERE / "kube",
    modfile=_kubernetes_modules(),
    packages={"kubeone": ".", "pause": "./pause"},
    links={
        "kubeone": (
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    version_of="k8s.io/kubernetes",
    version_variables=_KUBERNETES_STAMP,
)
COREDNS = GoPrograms(folder=_HERE / "addons" / "coredns", packages={"coredns": "."})
METRICS_SERVER = GoPrograms(
    folder=_HERE / "addons" / "metrics-server",
    packages={"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
)
KWOK = GoPrograms(
    folder=_HERE / "addons" / "kwok",
    packages={"kwok": "sigs.k8s.io/kwok/cmd/kwok", "kwok-stages": "."},
)
HELM = GoPrograms(
    folder=_HERE / "addons" / "helm",
    packages={"helm": "helm.sh/helm/v3/cmd/helm"},
    version_of="helm.sh/helm/v3",
    version_variables={
        "helm.sh/helm/v3/internal/version.version": "{version}",
        # What `helm template` takes for the cluster's version; unstamped it is 1.20.
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": "1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": KUBERNETES.version().split(".")[1],
    },
)
_CERT_MANAGER_MODULE = "github.com/cert-manager/cert-manager"
CERT_MANAGER = GoPrograms(
    folder=_HERE / "addons" / "cert-manager",
    packages={"cert-manager": "."},
    module_folders={"crds": (_CERT_MANAGER_MODULE, "deploy/crds")},
    version_of=_CERT_MANAGER_MODULE,
    version_variables={f"{_CERT_MANAGER_MODULE}/pkg/util.AppVersion": "{version}"},
)
# No part of a cluster: Prometheus' parser, by which tests of manifests read rules. It is built here
# with the rest, because minutes of building belong in no test's time.
PROMQL = GoPrograms(folder=_HERE.parent / "manifests" / "promql", packages={"promql": "."})
ALL = (KUBERNETES, COREDNS, METRICS_SERVER, KWOK, HELM, CERT_MANAGER, PROMQL)
