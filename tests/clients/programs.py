"""How each real client is asked to send one mail: unchanged programs, certificates verified.

A client's configuration here is the one its manual recommends for a submission server. ``Told``
holds what the program's user would have learnt: the exit code or exception, and the words.
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.clients.mail import Mail, Server, Told, joined
from tests.support.tools import missing, tool

HERE = Path(__file__).parent
NODE = HERE / "nodemailer"
PHPMAILER = "/usr/share/php/libphp-phpmailer/autoload.php"
LIMIT_SECONDS = 30

Client = Callable[[Server, Mail, Path], Awaitable[Told]]


async def run(
    *command: str | Path,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Told:
    """Run a program to its end, bounded in time; both of its streams are words to its user."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, **(variables or {})},  # noqa: TID251  # the program's, with additions
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, _ = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Told(success=process.returncode == 0, words=output.decode(errors="replace"))


async def python_smtplib(server: Server, mail: Mail, folder: Path) -> Told:
    """The standard library over STARTTLS."""
    return await asyncio.to_thread(_smtplib, server, mail, folder, implicit=False)


async def python_smtplib_implicit(server: Server, mail: Mail, folder: Path) -> Told:
    """The standard library over implicit TLS."""
    return await asyncio.to_thread(_smtplib, server, mail, folder, implicit=True)


def _smtplib(server: Server, mail: Mail, _folder: Path, *, implicit: bool) -> Told:
    context = ssl.create_default_context(cafile=str(server.ca))
    try:
        with _connection(server, context, implicit=implicit) as client:
            client.login(server.user, server.password)
            refused = client.send_message(mail.message(), to_addrs=mail.recipients)
    except smtplib.SMTPException as error:
        return Told(success=False, words=str(error))
    return Told(success=not refused, words=str(refused))


def _connection(server: Server, context: ssl.SSLContext, *, implicit: bool) -> smtplib.SMTP:
    if implicit:
        return smtplib.SMTP_SSL(
            server.host, server.tls_port, timeout=LIMIT_SECONDS, context=context
        )
    client = smtplib.SMTP(server.host, server.starttls_port, timeout=LIMIT_SECONDS)
    client.starttls(context=context)
    return client


async def nodemailer(server: Server, mail: Mail, folder: Path) -> Told:
    """Nodemailer, one message on one connection."""
    await install_nodemailer()
    return await run(
        tool("node"),
        NODE / "send.mjs",
        given=mail.as_json(server, folder),
        variables={"NODE_EXTRA_CA_CERTS": str(server.ca)},
    )


async def install_nodemailer() -> None:
    """Have ``node_modules`` as package-lock.json says, once."""
    if (NODE / "node_modules" / ".package-lock.json").exists():
        return
    told = await run(tool("npm"), "ci", "--no-audit", "--no-fund", folder=NODE)
    if not told.success:
        missing(f"npm ci failed: {told.words}")


async def phpmailer(server: Server, mail: Mail, folder: Path) -> Told:
    """PHPMailer as Debian ships it."""
    tool(PHPMAILER)
    return await run(
        *(tool("php"), "-d", f"openssl.cafile={server.ca}", HERE / "phpmailer.php"),
        given=mail.as_json(server, folder),
    )


async def swaks(server: Server, mail: Mail, folder: Path) -> Told:
    """The SMTP test program; it writes headers raw, so a UTF-8 subject arrives unencoded."""
    files = mail.saved(folder)
    parts = ["--body", f"@{files['text']}"]
    if mail.html:
        kinds = (("text/plain", files["text"]), ("text/html", files["html"]))
        parts = [
            word
            for kind, file in kinds
            for word in ("--attach-type", f"{kind}; charset=utf-8", "--attach-body", f"@{file}")
        ]
    if mail.attachment:
        parts += ["--attach-type", mail.attachment.kind, "--attach", f"@{files['attachment']}"]
    return await run(
        *(tool("swaks"), "--server", server.host, "--port", str(server.starttls_port)),
        *("--tls", "--tls-verify", "--tls-ca-path", server.ca),
        *("--auth", "LOGIN", "--auth-user", server.user, "--auth-password", server.password),
        *("--from", mail.sender, "--to", joined(mail.recipients)),
        *("--header", f"Subject: {mail.subject}", "--header", f"To: {joined(mail.to)}"),
        *("--timeout", str(LIMIT_SECONDS)),
        *parts,
    )


async def curl(server: Server, mail: Mail, folder: Path) -> Told:
    """The command line's universal client; a `Bcc:` header stays in what it sends."""
    return await _curl(f"smtp://{server.host}:{server.starttls_port}", server, mail, folder)


async def curl_implicit(server: Server, mail: Mail, folder: Path) -> Told:
    """The same over implicit TLS."""
    return await _curl(f"smtps://{server.host}:{server.tls_port}", server, mail, folder)


async def _curl(url: str, server: Server, mail: Mail, folder: Path) -> Told:
    # curl sends a file's octets as they are and stuffs a leading dot after CRLF only. Its --crlf is
    # no way out: with -F it makes CR CR LF of the lines that curl itself writes.
    files = mail.saved(folder, line_end="\r\n")
    parts = [f"=<{files['text']};type=text/plain; charset=utf-8"]
    if mail.html:
        parts = ["=(;type=multipart/alternative", *parts,
                 f"=<{files['html']};type=text/html; charset=utf-8", "=)"]  # fmt: skip
    if mail.attachment:
        parts.append(f"=@{files['attachment']};type={mail.attachment.kind};encoder=base64")
    headers = [f"From: {mail.sender}", f"To: {joined(mail.to)}", f"Subject: {mail.subject}"]
    headers += [f"Bcc: {joined(mail.bcc)}"] if mail.bcc else []
    return await run(
        *(tool("curl"), "--silent", "--show-error", "--verbose", "--max-time", str(LIMIT_SECONDS)),
        *("--url", url, "--ssl-reqd", "--cacert", server.ca),
        *("--user", f"{server.user}:{server.password}", "--mail-from", mail.sender),
        *(word for address in mail.recipients for word in ("--mail-rcpt", address)),
        *(word for header in headers for word in ("-H", header)),
        *(word for part in parts for word in ("-F", part)),
    )


async def msmtp(server: Server, mail: Mail, folder: Path) -> Told:
    """The sendmail replacement of cron jobs; it takes recipients from the headers, Bcc included."""
    secret = folder / "password"
    secret.write_text(server.password, encoding="utf-8")
    configuration = folder / "msmtprc"
    configuration.write_text(
        f"account default\nhost {server.host}\nport {server.starttls_port}\n"
        f"from {mail.sender}\ntimeout {LIMIT_SECONDS}\n"
        f"tls on\ntls_starttls on\ntls_trust_file {server.ca}\n"
        f"auth on\nuser {server.user}\npasswordeval cat {secret}\n",
        encoding="utf-8",
    )
    configuration.chmod(0o600)
    return await run(
        *(tool("msmtp"), "--file", configuration, "--read-recipients"),
        given=mail.message().as_bytes(),
    )


CLIENTS: dict[str, Client] = {
    "smtplib": python_smtplib,
    "smtplib-implicit-tls": python_smtplib_implicit,
    "nodemailer": nodemailer,
    "phpmailer": phpmailer,
    "swaks": swaks,
    "curl": curl,
    "curl-implicit-tls": curl_implicit,
    "msmtp": msmtp,
}
