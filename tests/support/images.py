"""Container images of the project's own Dockerfiles, as archives that any cluster can load.

A container engine builds them where one answers; elsewhere the local cluster's builder does, which
needs no daemon and no registry.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.cluster import images, preflight
from tests.cluster.commands import ClusterError, run
from tests.support.kubernetes import Unavailable
from tests.support.tools import ROOT, missing

_BUILD_SECONDS = 900


def archive_of(dockerfile: str, name: str, folder: Path) -> Path:
    """As ``build``; where nothing can build images, the test ends."""
    try:
        return build(dockerfile, name, folder)
    except Unavailable as reason:
        missing(str(reason))


def build(dockerfile: str, name: str, folder: Path) -> Path:
    """Build a Dockerfile of the project's root.

    Args:
        dockerfile: its name.
        name: of the image, with its registry before and a tag other than ``latest`` behind it.
        folder: where an archive may be written.

    Raises:
        Unavailable: this machine cannot build images.
    """
    if engine := _engine():
        words = ("build", "--file", dockerfile, "--tag", name, ".")
        run(engine, *words, cwd=ROOT, timeout=_BUILD_SECONDS)
        archive = Path(tempfile.mkdtemp(dir=folder)) / "image.tar"
        run(engine, "save", "--output", archive, name, timeout=_BUILD_SECONDS)
        return archive
    if found := preflight.problems():
        raise Unavailable(f"no container engine answers, and {'; '.join(found.values())}")
    return images.build(ROOT, name, ROOT / dockerfile).archive


def _engine() -> str | None:
    for name in ("docker", "podman"):
        engine = shutil.which(name)
        if engine is None:
            continue
        try:
            run(engine, "info", timeout=20)
        except ClusterError:
            continue
        return engine
    return None
