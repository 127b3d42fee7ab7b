"""README's settings table says what the settings class says."""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from smtp_gateway.settings import LIVE_NAMES, Settings

README = Path(__file__).parents[1] / "README.md"
HEAD = ["| variable | default | meaning |", "|---|---|---|"]


def written() -> list[str]:
    """The lines between the two markers."""
    text = README.read_text(encoding="utf-8")
    inside = text.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    return inside.strip().splitlines()


def row(name: str, field: FieldInfo) -> str:
    """The table's row for one setting."""
    default = "**required**" if field.is_required() else shown(field.default)
    meaning = (field.description or "").replace("|", "\\|")
    if name.upper() in LIVE_NAMES:
        meaning += " (live)"
    return f"| `{name.upper()}` | {default} | {meaning} |"


def shown(default: object) -> str:
    """A default as people write it in the environment; an empty cell where there is none."""
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float() | str() | Path() if str(default):
            return f"`{default}`"
        case _:
            return ""


def test_the_table_has_one_row_for_each_setting_in_the_order_of_the_class() -> None:
    """Name, default and meaning of every variable stand in README, and nothing else does."""
    expected = HEAD + [row(name, field) for name, field in Settings.model_fields.items()]

    assert written() == expected


def test_a_required_setting_and_a_plain_default_look_as_readers_expect() -> None:
    """Two rows written out, so that the table's form itself cannot drift."""
    assert "| `SMTP_PORT` | `587` | STARTTLS port, or `off`. |" in written()
    assert written()[2].startswith("| `CAKEMAIL_API_URL` | **required** | Base address of")
