"""The operator's page says what its settings class says, and names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic.fields import FieldInfo

from smtp_operator.settings import Settings
from tests.support.pages import fences

ROOT = Path(__file__).parents[1]
README = ROOT / "operator" / "README.md"
PACKAGE = ROOT / "operator" / "smtp_operator"
HEAD = ["| variable | default | meaning |", "|---|---|---|"]


def text() -> str:
    """The whole page."""
    return README.read_text(encoding="utf-8")


def written() -> list[str]:
    """The lines between the two markers."""
    inside = text().partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    return inside.strip().splitlines()


def row(name: str, field: FieldInfo) -> str:
    """The table's row for one setting."""
    default = "**required**" if field.is_required() else shown(field.default)
    return f"| `{name.upper()}` | {default} | {field.description} |"


def shown(default: object) -> str:
    """A default as people write it in the environment; an empty cell where there is none."""
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case int() | float() | str() if str(default):
            return f"`{default}`"
        case _:
            return ""


def test_the_table_has_one_row_for_each_setting_in_the_order_of_the_class() -> None:
    """Name, default and meaning of every variable, and nothing else."""
    expected = HEAD + [row(name, field) for name, field in Settings.model_fields.items()]

    assert written() == expected


def test_a_required_setting_and_a_plain_default_look_as_readers_expect() -> None:
    """Two rows written out, so that the table's form itself cannot drift."""
    assert written()[2] == (
        "| `GATEWAY_IMAGE` | **required** | Image of the gateway released with this operator. |"
    )
    assert "| `LEASE_NAME` | `smtp-operator` | Name of the election's Lease. |" in written()


def test_the_way_of_a_gateway_leads_past_files_that_exist() -> None:
    """Each file named in the table of stops is one of the operator's."""
    named = re.findall(r"`((?:\w+/)?[\w*]+\.py)`", text())

    assert {"events.py", "reconcile.py", "fleet/decision.py", "resources/*.py"} <= set(named)
    lost = [name for name in named if name != "__init__.py" and not any(PACKAGE.glob(name))]
    assert lost == []


@pytest.mark.parametrize("folder", ["fleet", "resources", "cluster"])
def test_the_way_of_a_gateway_leads_into_each_folder(folder: str) -> None:
    """No layer of the operator is left out."""
    assert f"`{folder}/" in text()


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    content = (ROOT / page).read_text(encoding="utf-8")
    return [block.text for block in fences(content) if block.language == language]


@pytest.mark.parametrize("page", ["README.md", "operator/README.md", "docs/smtpgateway.md"])
def test_the_first_fleet_of_a_page_is_the_sample_that_is_applied(page: str) -> None:
    """What is shown is what ``manifests/samples/smtpgateway.yaml`` holds."""
    sample = (ROOT / "manifests" / "samples" / "smtpgateway.yaml").read_text(encoding="utf-8")

    assert yaml.safe_load(blocks(page, "yaml")[0]) == yaml.safe_load(sample)


def test_the_kustomization_shown_changes_what_the_base_has() -> None:
    """Image, container and variable of the page's patch are those of the base's Deployment."""
    shown_file = yaml.safe_load(blocks("manifests/README.md", "yaml")[0])
    (folder,) = shown_file["resources"]
    base = yaml.safe_load((ROOT / folder / "deployment.yaml").read_text(encoding="utf-8"))
    patch = yaml.safe_load(shown_file["patches"][0]["patch"])
    (theirs,) = base["spec"]["template"]["spec"]["containers"]
    (ours,) = patch["spec"]["template"]["spec"]["containers"]

    assert patch["metadata"]["name"] == base["metadata"]["name"] == "smtp-operator"
    assert ours["name"] == theirs["name"]
    assert {one["name"] for one in ours["env"]} <= {one["name"] for one in theirs["env"]}
    assert theirs["image"].partition(":")[0] in {one["name"] for one in shown_file["images"]}


@pytest.mark.parametrize("page", ["README.md", "manifests/README.md", "crds/README.md"])
def test_every_path_in_a_command_exists(page: str) -> None:
    """What a reader is told to apply or to build from is there."""
    commands = "\n".join(each for kind in ("sh", "console", "") for each in blocks(page, kind))
    named = re.findall(r"(?:-f|--file|--kustomize|-k) ([\w./-]*\w[\w./-]*)", commands)

    assert named != []
    assert [path for path in named if not (ROOT / path).exists()] == []
