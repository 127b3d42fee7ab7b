"""The message of the measurements: 2 KB, text and html, quoted-printable, nine header fields."""

from __future__ import annotations

import base64

HEADERS = (
    "From: Bench <bench@example.com>",
    "To: a@example.org",
    "Subject: Your receipt for the order of this morning",
    "Date: Tue, 24 Nov 2026 10:00:00 +0000",
    "Message-ID: <NUMBER@bench.example.com>",
    "Reply-To: support@example.com",
    "List-Unsubscribe: <mailto:off@example.com>",
    "MIME-Version: 1.0",
    'Content-Type: multipart/alternative; boundary="==bench=="',
)
TEXT = "Hello, thank you for your order. It will arrive in two days. Gr=C3=BC=C3=9Fe!\r\n"
HTML = '<p style=3D"margin:0">Hello, <b>thank you</b> for your order. Gr=C3=BC=C3=9Fe!</p>\r\n'
PART = (
    "--==bench==\r\nContent-Type: text/{kind}; charset=utf-8\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)


def message() -> bytes:
    """The message with its final dot; the generator replaces NUMBER in each mail."""
    text = (
        "\r\n".join(HEADERS)
        + "\r\n\r\n"
        + PART.format(kind="plain")
        + TEXT * 8
        + PART.format(kind="html")
        + HTML * 10
        + "--==bench==--\r\n.\r\n"
    )
    return text.encode("ascii")


LARGE_HEAD = """\
From: Bench <bench@example.com>
To: a@example.org
Subject: The plans
Message-ID: <NUMBER@bench.example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="==bench=="

--==bench==
Content-Type: text/plain

They are attached.
--==bench==
Content-Type: application/pdf; name="plans.pdf"
Content-Disposition: attachment; filename="plans.pdf"
Content-Transfer-Encoding: base64

"""
LARGE_BYTES = 18_000_000  # as base64 in lines with CRLF: 24.6 MB, below the announced limit


def large_message() -> bytes:
    """A message near the size limit, with its final dot."""
    octets = bytes(range(256)) * (LARGE_BYTES // 256)
    text = LARGE_HEAD.encode("ascii") + base64.encodebytes(octets) + b"--==bench==--\n.\n"
    return text.replace(b"\n", b"\r\n")
