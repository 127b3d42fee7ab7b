"""README's three examples, run as they stand; only host, port and credentials are replaced.

Whom to trust comes from the environment or the interpreter's own switch, as on a machine whose
administrator has installed the certificate authority.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.mail import Told
from tests.clients.programs import NODE, PHPMAILER, install_nodemailer, run
from tests.clients.stand import Stand
from tests.support.tools import tool

pytestmark = pytest.mark.clients

ExampleRun = Callable[[Stand, Path], Awaitable[Told]]
README = Path(__file__).parents[2] / "README.md"


def example(language: str, stand: Stand) -> str:
    """README's code block in this language, pointed at the server under test."""
    pattern = rf"^```{language}\n(.*?)^```"
    found = re.findall(pattern, README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    text: str = found[0]
    server = stand.server
    replaced = {
        "smtp.example.com": server.host,
        "587": str(server.starttls_port),
        "you@example.com": server.user,
        "your-password": server.password,
    }
    for word, real in replaced.items():
        assert word in text
        text = text.replace(word, real)
    return text


async def run_python(stand: Stand, folder: Path) -> Told:
    """The smtplib example."""
    script = folder / "example.py"
    script.write_text(example("python", stand), encoding="utf-8")
    return await run(
        sys.executable, script, folder=folder, variables={"SSL_CERT_FILE": str(stand.server.ca)}
    )


async def run_node(stand: Stand, folder: Path) -> Told:
    """The Nodemailer example, with the package installed beside it."""
    await install_nodemailer()
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    script = folder / "example.mjs"
    script.write_text(example("js", stand), encoding="utf-8")
    return await run(
        tool("node"),
        script,
        folder=folder,
        variables={"NODE_EXTRA_CA_CERTS": str(stand.server.ca)},
    )


async def run_php(stand: Stand, folder: Path) -> Told:
    """The PHPMailer example; Debian's class loader stands where Composer would put one."""
    (folder / "vendor").mkdir()
    (folder / "vendor" / "autoload.php").write_text(f"<?php require '{tool(PHPMAILER)}';\n")
    script = folder / "example.php"
    script.write_text(example("php", stand), encoding="utf-8")
    return await run(tool("php"), "-d", f"openssl.cafile={stand.server.ca}", script, folder=folder)


@pytest.mark.parametrize("example_run", [run_python, run_node, run_php])
async def test_the_example_sends_its_mail(
    stand: Stand, example_run: ExampleRun, tmp_path: Path
) -> None:
    """The example ends without an error, and one whole mail has reached the API."""
    told = await example_run(stand, tmp_path)

    assert told.success, told.words
    (request,) = stand.emails()
    assert request["email"] == "friend@example.org"
    assert request["sender"]["name"] == "Example Shop"
    assert request["content"]["subject"] == "Your order"
    assert request["content"]["text"].strip() == "Thank you! What you ordered is attached."
    assert request["content"]["html"].strip() == "<p>Thank you! What you ordered is attached.</p>"
    (attachment,) = request["attachment"]
    assert attachment["filename"] == "order.csv"
    assert attachment["type"] == "csv"
    assert base64.b64decode(attachment["content"]).split() == [b"item,price", b"cake,12"]


@pytest.mark.parametrize("example_run", [run_node, run_php])
async def test_the_example_prints_the_id_of_the_mail(
    stand: Stand, example_run: ExampleRun, tmp_path: Path
) -> None:
    """The id in our `250` is where the library's documentation says that it is."""
    told = await example_run(stand, tmp_path)

    (email_id,) = stand.email_ids()
    assert email_id in told.words
