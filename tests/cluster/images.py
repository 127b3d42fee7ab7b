"""Container images without a registry: ordinary Dockerfiles, built by buildah in a private store.

Bases come from Debian packages. A base carries the name of the published image that it stands in
for, inside this store only, so a Dockerfile's FROM needs no change.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.programs import KUBERNETES, locked
from tests.cluster.settings import cache_folder

PAUSE_IMAGE = "localhost/localcluster/pause:1"
PYTHON_IMAGE = "docker.io/library/python:3.13-slim-trixie"

_DEBIAN_RELEASE = "trixie"  # its Python is of the minor version that the image's name says
_PYTHON_PACKAGES = (
    "ca-certificates",
    "netbase",
    "tzdata",
    "python3",
    "python3-pip",
    "python3-venv",
)
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
# As in the published image: python and pip have these names and pip installs system-wide.
_PYTHON_DOCKERFILE = f"""\
FROM scratch
ADD rootfs.tar /
LABEL org.opencontainers.image.description="Stand-in for {PYTHON_IMAGE}, of Debian packages"
ENV LANG=C.UTF-8
RUN rm /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s /usr/bin/python3 /usr/local/bin/python
CMD ["python3"]
"""
_PAUSE_DOCKERFILE = """\
FROM scratch
COPY pause /pause
USER 65535:65535
ENTRYPOINT ["/pause"]
"""
_BUILD_LIMIT = 1200.0
_IN_USE_SECONDS = 3600


@dataclass(frozen=True)
class Image:
    """An image that can be loaded into nodes."""

    name: str
    archive: Path
    """OCI archive that carries the name."""


def pause() -> Image:
    """The sandbox of every pod."""
    program = KUBERNETES.build() / "pause"
    return _once(
        PAUSE_IMAGE,
        program.read_bytes() + _PAUSE_DOCKERFILE.encode(),
        {"pause": program},
        _PAUSE_DOCKERFILE,
    )


def python_base() -> None:
    """Have the Python base in the store. A minute the first time."""
    key = _digest(
        repr((_DEBIAN_RELEASE, _PYTHON_PACKAGES, _LEFT_OUT)).encode() + _PYTHON_DOCKERFILE.encode()
    )
    with locked(_folder() / "python.lock"):
        if _label_of(PYTHON_IMAGE) == key:
            return
        with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
            context = Path(scratch)
            _debian_root(context / "rootfs.tar")
            (context / "Dockerfile").write_text(_PYTHON_DOCKERFILE)
            _build_in_store(context, PYTHON_IMAGE, options=[f"--label={_KEY_LABEL}={key}"])


def build(
    context: Path,
    name: str,
    dockerfile: Path | None = None,
    arguments: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Image:
    """Build an ordinary Dockerfile.

    Args:
        context: folder that the build may read.
        name: of the image, with a registry-like first part and a tag, e.g. localhost/app:1.
        dockerfile: none: the one in ``context``.
        arguments: of the build.
        options: further ones, for buildah.
    """
    file = dockerfile or context / "Dockerfile"
    if PYTHON_IMAGE in file.read_text():
        python_base()
    build_arguments = [f"--build-arg={key}={value}" for key, value in (arguments or {}).items()]
    _build_in_store(context, name, file, [*build_arguments, *options])
    return Image(name, _export(name))


def _once(name: str, content: bytes, files: Mapping[str, Path], dockerfile: str) -> Image:
    """An image of a few ready files, built when they have changed."""
    archive = _folder() / f"{_file_name(name)}-{_digest(content)}.tar"
    with locked(archive.with_suffix(".lock")):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
                for target, source in files.items():
                    shutil.copy(source, Path(scratch) / target)
                (Path(scratch) / "Dockerfile").write_text(dockerfile)
                _build_in_store(Path(scratch), name)
            _push(name, archive)
    return Image(name, archive)


_KEY_LABEL = "localcluster.key"


def _label_of(name: str) -> str:
    template = f'{{{{index .OCIv1.Config.Labels "{_KEY_LABEL}"}}}}'
    try:
        return _buildah("inspect", "--type=image", f"--format={template}", name).strip()
    except RuntimeError:
        return ""


def _debian_root(target: Path) -> None:
    run(
        *("unshare", "--mount", "--propagation", "private", "mmdebstrap", "--variant=minbase"),
        f"--include={','.join(_PYTHON_PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--aptopt={setting}" for setting in _apt_connection()),
        *(_DEBIAN_RELEASE, target),
        timeout=_BUILD_LIMIT,
    )


def _apt_connection() -> list[str]:
    """How this machine's apt reaches its archive, where it needs more than the default."""
    if not shutil.which("apt-config"):
        return []
    settings = run("apt-config", "dump").splitlines()
    return [
        line
        for line in settings
        if re.match(r"Acquire::https?::(\S+::)?(Proxy|CaInfo) ", line, re.IGNORECASE)
    ]


def _build_in_store(
    context: Path, name: str, dockerfile: Path | None = None, options: Sequence[str] = ()
) -> None:
    with tempfile.TemporaryDirectory(dir=_folder()) as scratch:
        _buildah(
            *(
                "bud",
                "--isolation=chroot",
                "--network=host",
                "--pull-never",
                "--layers",
                f"--tag={name}",
            ),
            *(
                f"--volume={source}:{target}:ro"
                for source, target in _pip_connection(Path(scratch)).items()
            ),
            *options,
            *(f"--file={dockerfile or context / 'Dockerfile'}", str(context)),
        )


def _pip_connection(scratch: Path) -> dict[Path, str]:
    """Mounts that let pip in a build reach what it reaches here: its settings, the files they name.

    Mounts, not variables or arguments, since those would stay in the image.
    """
    if not shutil.which("pip"):
        return {}
    settings: dict[str, str] = {}
    for line in run("pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = str(ast.literal_eval(value))
    if not settings:
        return {}
    config = scratch / "pip.conf"
    indented = {key: value.replace("\n", "\n    ") for key, value in settings.items()}
    config.write_text(
        "\n".join(["[global]", *(f"{key} = {value}" for key, value in indented.items()), ""])
    )
    mounts = {config: "/etc/pip.conf"}
    for word in " ".join(settings.values()).split():
        if word.startswith("/") and Path(word).exists():
            mounts[Path(word)] = word
    return mounts


def _export(name: str) -> Path:
    """The archive of an image, named by its content: unchanged images are not written again."""
    identity = _buildah("inspect", "--type=image", "--format={{.FromImageID}}", name).strip()
    archive = _folder() / f"{_file_name(name)}-{_digest(identity.encode())}.tar"
    with locked(archive.with_suffix(".lock")):  # runs side by side write the same file
        if not archive.exists():
            _push(name, archive)
            _forget_older(name, archive)
    return archive


def _forget_older(name: str, kept: Path) -> None:
    """Former builds of the image, but for those that another run may be about to load."""
    for archive in _folder().glob(f"{_file_name(name)}-*.tar"):
        if archive != kept and time.time() - archive.stat().st_mtime > _IN_USE_SECONDS:
            archive.unlink(missing_ok=True)


def _push(name: str, archive: Path) -> None:
    unfinished = archive.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    _buildah("push", "--disable-compression", name, f"oci-archive:{unfinished}:{name}")
    unfinished.rename(archive)


def _buildah(*arguments: str) -> str:
    folder = _folder()
    (folder / "tmp").mkdir(exist_ok=True)
    config = folder / "containers.conf"
    config.write_text(f'[network]\nnetwork_config_dir = "{folder}/networks"\n')
    return run(
        # A mount namespace: mounts of a killed build vanish with it, and what buildah insists on
        # keeping in /var/lib does not reach the machine.
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", 'mount -t tmpfs tmpfs /var/lib && exec "$@"', "buildah"),
        *(
            "buildah",
            f"--root={folder}/store",
            f"--runroot={folder}/store-run",
            "--storage-driver=overlay",
        ),
        *arguments,
        variables={"CONTAINERS_CONF": str(config), "TMPDIR": str(folder / "tmp")},
        timeout=_BUILD_LIMIT,
    )


def _folder() -> Path:
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "_", name.lower())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
