"""Every design page and section that the tree cites exists.

A comment may say ``cakemail-api 7.3``, ``smtp-server 3.1-3.6``, ``drop-in 8.1 item 3`` or
``performance 4, P4`` instead of repeating the reason. The names stand in ``docs/design/README.md``.
What is behind a citation: a heading; an item of the numbered list below one (``cakemail-api
7.5.3``); a row of a table that begins with a mark (``D5``, ``P4``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DESIGN = ROOT / "docs" / "design"
CITED_AS = {
    "cakemail-api": "cakemail-api.md",
    "smtp-server": "smtp-server.md",
    "drop-in": "drop-in-compatibility.md",
    "drop-in-compatibility": "drop-in-compatibility.md",
    "performance": "performance.md",
    "verification": "verification.md",
    "operator": "operator.md",
}
SOURCES = ("gateway", "operator", "crds", "manifests", "tests", "docs", ".ci", ".github")
KINDS = frozenset({".py", ".yaml", ".yml", ".md", ".toml", ".go", ".txt"})
FOREIGN = frozenset({"node_modules", "__pycache__"})

# A comment or docstring goes on in its next line; markdown sets names as code or as links.
_CONTINUED = re.compile(r"\s*\n[ \t]*(?:(?:#:?|//)[ \t]*)?")
_MARKUP = re.compile(r"\]\([^)\s]*\)|[`\[]")

_PLACE = r"(?:\d+(?:\.\d+)*|[DP]\d+)"
_RANGE = rf"{_PLACE}(?:-\d+(?:\.\d+)*)?(?:,? (?:rule|item) \d+)?"
_NAME = "|".join(sorted(CITED_AS, key=len, reverse=True))
_CITATION = re.compile(
    rf"(?<![\w/-])(?<!npm )(?P<name>{_NAME})(?:\.md)?,? "
    rf"(?:section )?(?P<places>{_RANGE}(?:(?:,| and) (?:section )?{_RANGE})*)(?![\w%/])"
)
_ONE = re.compile(
    rf"(?P<first>{_PLACE})(?:-(?P<last>\d+(?:\.\d+)*))?(?:,? (?:rule|item) (?P<item>\d+))?"
)


def citations(text: str) -> Iterator[tuple[str, str]]:
    """Name and place of everything cited; both ends of a range, the item of a section's list."""
    flat = _MARKUP.sub("", _CONTINUED.sub(" ", text))
    for found in _CITATION.finditer(flat):
        for one in _ONE.finditer(found["places"]):
            yield found["name"], one["first"] + (f".{one['item']}" if one["item"] else "")
            if one["last"]:
                yield found["name"], _end_of_range(one["first"], one["last"])


def _end_of_range(first: str, last: str) -> str:
    """``7.5.3-5`` ends at 7.5.5, ``3.1-3.6`` at 3.6."""
    return last if "." in last or "." not in first else f"{first.rpartition('.')[0]}.{last}"


@cache
def places(page: str) -> frozenset[str]:
    """All that can be cited of a page: sections, items of their lists, marks of table rows."""
    found: set[str] = set()
    section = ""
    for line in (DESIGN / page).read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#{2,4} (\d+(?:\.\d+)*)\.? ", line):
            section = heading[1]
            found.add(section)
        elif item := re.match(r"(\d+)\. ", line):
            found.add(f"{section}.{item[1]}")
        elif mark := re.match(r"\| ([DP]\d+) \|", line):
            found.add(mark[1])
    return frozenset(found)


def sources() -> list[Path]:
    """Every text of the tree that may cite."""
    below = (path for name in SOURCES for path in sorted((ROOT / name).rglob("*")))
    return [
        path
        for path in [*sorted(ROOT.glob("*.md")), *below]
        if path.suffix in KINDS and not FOREIGN.intersection(path.parts) and path != Path(__file__)
    ]


def test_every_citation_leads_to_a_section() -> None:
    """None names a page or a section that is not there."""
    lost = [
        f"{path.relative_to(ROOT)}: {name} {place}"
        for path in sources()
        for name, place in citations(path.read_text(encoding="utf-8"))
        if place not in places(CITED_AS[name])
    ]
    assert lost == []


def test_the_tree_is_searched() -> None:
    """The handler's reasons are among the citations, so the search looks where they stand."""
    handler = ROOT / "gateway" / "smtp_gateway" / "smtp" / "handler.py"
    assert handler in sources()
    assert ("smtp-server", "4.1") in set(citations(handler.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see cakemail-api 7.3.", [("cakemail-api", "7.3")]),
        ("(smtp-server\n    # 3.9, drop-in 4.2)", [("smtp-server", "3.9"), ("drop-in", "4.2")]),
        ("cakemail-api 4, 1.5", [("cakemail-api", "4"), ("cakemail-api", "1.5")]),
        ("cakemail-api 2 and 7.3", [("cakemail-api", "2"), ("cakemail-api", "7.3")]),
        ("cakemail-api 7.5.3-5", [("cakemail-api", "7.5.3"), ("cakemail-api", "7.5.5")]),
        ("smtp-server 3.1-3.6", [("smtp-server", "3.1"), ("smtp-server", "3.6")]),
        ("performance 4, P4", [("performance", "4"), ("performance", "P4")]),
        ("drop-in 8.1 item 3", [("drop-in", "8.1.3")]),
        ("drop-in 3, rule 3", [("drop-in", "3.3")]),
        ("[`performance.md`](performance.md) 2.4", [("performance", "2.4")]),
        ("drop-in-compatibility 5.2: every name", [("drop-in-compatibility", "5.2")]),
        ("operator 12: waves; operator.md, section 7", [("operator", "12"), ("operator", "7")]),
        ("performance of 4 cores; npm smtp-server 3.21", []),
        ("an operator of 2 clusters; smtp-operator 8080", []),
    ],
)  # fmt: skip
def test_every_form_of_a_citation_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    """Broken lines, ranges, lists, items and marks."""
    assert list(citations(text)) == expected


def test_the_operators_folders_are_searched() -> None:
    """Code, definitions and manifests of the operator may cite, and what they cite is followed."""
    probes = ROOT / "operator" / "smtp_operator" / "resources" / "pod.py"
    read = set(sources())

    assert {probes, ROOT / "crds" / "smtpgateways.yaml", ROOT / "manifests" / "README.md"} <= read
    assert ("smtp-server", "4.7") in set(citations(probes.read_text(encoding="utf-8")))


def test_a_section_that_does_not_exist_is_told_apart() -> None:
    """A section, an item or a mark beyond the last one is none."""
    assert {"7.5", "7.5.6", "D14"} <= places("cakemail-api.md")
    assert not {"7.7", "7.5.7", "D15", "10"} & places("cakemail-api.md")
    assert {"1.8", "12", "16"} <= places("operator.md")
    assert not {"1.9", "17"} & places("operator.md")


def test_every_file_that_a_page_names_exists() -> None:
    """A path in code marks, from the root of the tree; a star stands for any name."""
    named = re.compile(
        r"`((?:tests|gateway|operator|crds|manifests|docs|\.ci)/[\w./*-]*(?:/|\.\w+))`"
    )
    lost = [
        f"{page.name}: {path}"
        for page in sorted(DESIGN.glob("*.md"))
        for path in named.findall(page.read_text(encoding="utf-8"))
        if not any(ROOT.glob(path))
    ]
    assert lost == []


def test_the_readme_lists_each_name_with_its_page() -> None:
    """Names and pages of the test and of ``docs/design/README.md`` are the same."""
    text = (DESIGN / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| \[([^\]]+)\]\(([^)]+)\) \|", text, re.MULTILINE)
    listed = {name: link for names, _, link in rows for name in re.findall(r"`([^`]+)`", names)}

    assert listed == CITED_AS
    assert set(CITED_AS.values()) == {path.name for path in DESIGN.glob("*.md")} - {"README.md"}
