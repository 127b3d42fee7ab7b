"""What a client is asked to send, to whom, and what it told its user afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 20 + b"\n%%EOF\n"


@dataclass(frozen=True)
class Server:
    """Where clients connect, whom they trust, and the login that works there."""

    host: str
    starttls_port: int
    tls_port: int
    ca: Path
    user: str
    password: str

    def with_password(self, password: str) -> Server:
        """The same server, as seen by somebody with another password."""
        return replace(self, password=password)


@dataclass(frozen=True)
class Attachment:
    """One file, as its owner sees it."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """One mail; ``bcc`` stands in the envelope only."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str = ""
    bcc: tuple[str, ...] = ()
    attachment: Attachment | None = None

    @property
    def recipients(self) -> tuple[str, ...]:
        """The envelope."""
        return self.to + self.bcc

    def message(self) -> EmailMessage:
        """The mail as clients hand it over that take a finished message; Bcc is still in it."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        if self.bcc:
            message["Bcc"] = ", ".join(self.bcc)
        message["Subject"] = self.subject
        message.set_content(self.text)
        if self.html:
            message.add_alternative(self.html, subtype="html")
        if self.attachment:
            main, _, sub = self.attachment.kind.partition("/")
            message.add_attachment(
                self.attachment.content, maintype=main, subtype=sub, filename=self.attachment.name
            )
        return message

    def saved(self, folder: Path, *, line_end: str = "\n") -> dict[str, Path]:
        """Its parts as files, for programs that read them: ``text``, ``html``, ``attachment``."""
        files = {"text": folder / "text.txt"}
        files["text"].write_text(self.text, encoding="utf-8", newline=line_end)
        if self.html:
            files["html"] = folder / "page.html"
            files["html"].write_text(self.html, encoding="utf-8", newline=line_end)
        if self.attachment:
            files["attachment"] = folder / self.attachment.name
            files["attachment"].write_bytes(self.attachment.content)
        return files

    def as_json(self, server: Server, folder: Path) -> bytes:
        """Everything a script needs, for its standard input."""
        attachment = self.saved(folder).get("attachment")
        task = {
            "host": server.host,
            "port": server.starttls_port,
            "user": server.user,
            "password": server.password,
            "from": self.sender,
            "to": self.to,
            "bcc": self.bcc,
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "attachment": str(attachment) if attachment else "",
        }
        return json.dumps(task).encode()


@dataclass(frozen=True)
class Told:
    """What the client reported: success of the whole mail, and every word its user could read."""

    success: bool
    words: str


def joined(addresses: Iterable[str]) -> str:
    """Addresses as most command lines want them."""
    return ",".join(addresses)
