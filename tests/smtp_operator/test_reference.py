"""The reference table of SmtpGateway has every field of the model, with its values and default."""

from __future__ import annotations

import json

import yaml

from tests.support.smtpgateway import ROOT, Facts, root_schema, rules, said_by_model

REFERENCE = ROOT / "docs" / "smtpgateway.md"
BEGIN, END = "<!-- fields -->\n", "<!-- /fields -->"


def written() -> list[list[str]]:
    """The cells of the table's rows, its head apart."""
    text = REFERENCE.read_text(encoding="utf-8")
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def expected() -> list[tuple[str, str, str]]:
    """Field, values and default of each row: entries of lists only where they are blocks."""
    said = said_by_model()
    return [
        (path, values(path, said), default(facts))
        for path, facts in said.items()
        if not path.endswith(("[]", "{}"))
    ]


def values(path: str, said: dict[str, Facts]) -> str:
    """What a field may hold, in a few words."""
    match said[path].stated:
        case {"enum": choices}:
            return ", ".join(f"`{_yaml(choice)}`" for choice in choices)
        case {"x-kubernetes-int-or-string": True, "minimum": lowest, "maximum": highest}:
            return f"{lowest}-{highest} or a percentage"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer", "minimum": lowest, "maximum": highest}:
            return f"{lowest}-{highest}"
        case {"type": "integer", "minimum": lowest}:
            return f">= {lowest}"
        case {"type": "string", "maxLength": length}:
            return f"text <= {length}"
        case {"type": "array", "maxItems": length}:
            return f"list <= {length}"
        case {"type": "object", "maxProperties": length}:
            return f"map <= {length}"
        case _:
            return "object"


def default(facts: Facts) -> str:
    """As it would be written in YAML; an empty cell where there is none."""
    if facts.required:
        return "**required**"
    given = facts.stated.get("default", {})
    if isinstance(given, list) and any(isinstance(entry, dict) for entry in given):
        return "below"
    return "" if given == {} else f"`{_yaml(given)}`"


def _yaml(value: object) -> str:
    """Quoted where YAML would take a bare text for something else."""
    if isinstance(value, str):
        return value if yaml.safe_load(value) == value else f'"{value}"'
    return json.dumps(value)


def test_the_table_has_each_field_in_the_order_of_the_model() -> None:
    """Field, values and default are the model's; what a field means stands beside them."""
    rows = [(row[0].strip("`"), row[1], row[2]) for row in written()]

    assert rows == expected()


def test_every_row_says_what_the_field_means() -> None:
    """Four cells, the last one a sentence."""
    assert [row[0] for row in written() if len(row) != 4 or not row[3]] == []


def test_rows_look_as_readers_expect() -> None:
    """Some written out, so that the form of the table cannot drift."""
    rows = {row[0]: row[1:3] for row in written()}

    assert rows["`tls`"] == ["object", "**required**"]
    assert rows["`replicas`"] == ["0-200", "`2`"]
    assert rows["`logging.level`"] == ["`debug`, `info`, `warning`, `error`", "`info`"]
    assert rows["`rollout.maxSurge`"] == ["0-200 or a percentage", "`25%`"]
    assert rows["`listeners[].port`"] == ["1-65535", "**required**"]


def test_the_table_of_rules_has_each_rule() -> None:
    """Place and message of everything that the API server refuses."""
    text = REFERENCE.read_text(encoding="utf-8")
    rows = text.partition("<!-- rules -->\n")[2].partition("<!-- /rules -->")[0].splitlines()[2:]

    assert rows == [
        f"| `{path.removeprefix('.') or '(root)'}` | {rule['message']} |"
        for path, rule in rules(root_schema())
    ]
