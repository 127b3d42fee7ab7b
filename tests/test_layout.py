"""The tree's traps: what would break an interpreter, a test run or a reader's trust, in silence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GATEWAY = ROOT / "gateway" / "smtp_gateway"
TESTS = ROOT / "tests"
PACKAGES = ("gateway/smtp_gateway", "gateway/cakemail_sandbox")

# Modules without a test file of their own, each with the place that tests it.
NO_TWIN = {
    "__main__.py": "three lines; started by every test of tests/end_to_end and tests/clients",
    "errors.py": "classes without code; test_replies.py walks all of them",
    "smtp/effects.py": "values without code; test_machine.py compares with them",
}


def python_files(folder: Path) -> list[Path]:
    """All modules below a folder, without caches and installed packages."""
    return [path for path in sorted(folder.rglob("*.py")) if "node_modules" not in path.parts]


@pytest.mark.parametrize("folder", ["gateway", "operator"])
def test_the_two_program_folders_are_plain_folders(folder: str) -> None:
    """A package called ``operator`` hides the standard one and stops the interpreter."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_folder_of_tests_is_a_package() -> None:
    """A half-packaged ``tests`` lets a folder ``email`` take the standard module's place."""
    folders = {path.parent for path in python_files(TESTS)}
    inner = {parent for folder in folders for parent in [folder, *folder.parents]}

    lacking = [
        folder
        for folder in sorted(inner)
        if folder.is_relative_to(TESTS) and not (folder / "__init__.py").exists()
    ]
    assert lacking == []


def test_every_module_of_the_gateway_has_a_twin_test() -> None:
    """``tests/smtp_gateway/x/test_y.py`` exists for ``smtp_gateway/x/y.py``, or a reason does."""
    lacking = []
    for module in python_files(GATEWAY):
        name = module.relative_to(GATEWAY)
        twin = TESTS / "smtp_gateway" / name.parent / f"test_{name.name}"
        if name.name != "__init__.py" and not twin.exists() and str(name) not in NO_TWIN:
            lacking.append(str(name))
    assert lacking == []


def test_every_excuse_is_still_needed() -> None:
    """A module on the list of excuses exists and has no twin by now."""
    stale = [
        name
        for name in NO_TWIN
        if not (GATEWAY / name).exists()
        or (TESTS / "smtp_gateway" / Path(name).parent / f"test_{Path(name).name}").exists()
    ]
    assert stale == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_longer_than_a_reader_can_hold(package: str) -> None:
    """500 lines are the end of what one file may hold."""
    long = [
        str(path.relative_to(ROOT))
        for path in python_files(ROOT / package)
        if len(path.read_text(encoding="utf-8").splitlines()) > 500
    ]
    assert long == []


def test_every_module_says_why_it_exists() -> None:
    """A module opens with its reason."""
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in python_files(ROOT / package)
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def documents() -> list[Path]:
    """Every page of the project."""
    shallow = [*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md")]
    folders = ("docs", "gateway", "operator", "crds", "manifests", "tests")
    deep = [page for folder in folders for page in (ROOT / folder).rglob("*.md")]
    return [page for page in shallow + deep if "node_modules" not in page.parts]


def test_every_link_between_pages_leads_somewhere() -> None:
    """A relative link in a page names a file of this tree."""
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in documents()
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", _without_code(page))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def _without_code(page: Path) -> str:
    """A pattern such as ``[a-z](x)?`` in code marks is no link."""
    return re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))


def test_every_stop_of_the_tour_exists() -> None:
    """Each file that the message passes in gateway/README.md is where the page says."""
    tour = (ROOT / "gateway" / "README.md").read_text(encoding="utf-8")
    stops = re.findall(r"`([a-z_/]+\.py)`", tour)

    assert len(stops) > 20
    assert [stop for stop in stops if not (GATEWAY / stop).exists()] == []
