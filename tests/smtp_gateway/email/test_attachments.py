"""Attachments: types, names and content as the API takes them."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.attachments import (
    BY_EXTENSION,
    BY_MEDIA_TYPE,
    AttachmentList,
    attachment_type,
    content,
    disposition,
    file_stem,
)
from smtp_gateway.email.parser import Part, read_fields, read_tree
from smtp_gateway.errors import PartUnsupported

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# The API's own patterns (OpenAPI, schema Attachment).
FILE_NAME = re.compile(r"^[a-zA-Z0-9-_]+\.(csv|doc|docx|ics|jpeg|pdf|png|xls|xlsx)$")


def part(header: str, body: bytes = b"x") -> Part:
    """A message that is one leaf."""
    raw = header.encode() + b"\r\n\r\n" + body
    fields, start = read_fields(raw, 0, len(raw))
    return read_tree(raw, fields, start)


@pytest.mark.parametrize(
    ("media", "filename", "kind"),
    [
        ("text/csv", "", "csv"),
        ("application/csv", "", "csv"),
        ("application/msword", "", "doc"),
        (WORD, "", "docx"),
        ("text/calendar", "", "calendar"),
        ("application/ics", "", "calendar"),
        ("image/jpeg", "", "jpeg"),
        ("image/jpg", "", "jpeg"),
        ("image/pjpeg", "", "jpeg"),
        ("application/pdf", "x.zip", "pdf"),
        ("image/png", "", "png"),
        ("application/vnd.ms-excel", "a.xls", "xls"),
        ("application/vnd.ms-excel", "a.CSV", "csv"),
        (SHEET, "", "xlsx"),
        ("application/octet-stream", "a.PDF", "pdf"),
        ("application/octet-stream", "a.jpg", "jpeg"),
        ("application/octet-stream", "a.ics", "calendar"),
        ("text/plain", "a.csv", "csv"),
        ("nonsense", "a.docx", "docx"),
        ("application/octet-stream", "", None),
        ("application/octet-stream", "a.exe", None),
        ("text/plain", "a.txt", None),
        ("application/zip", "a.pdf", None),
        ("image/gif", "a.png", None),
        ("text/html", "a.csv", None),
    ],
)
def test_the_type_decides_and_a_vague_one_leaves_it_to_the_name(
    media: str, filename: str, kind: str | None
) -> None:
    """The table of cakemail-api 7.3."""
    assert attachment_type(part(f"Content-Type: {media}"), filename) == kind


def test_every_type_of_the_tables_is_one_of_the_api() -> None:
    """The enumeration of the schema AttachmentType."""
    known = {"csv", "doc", "docx", "calendar", "jpeg", "pdf", "png", "xls", "xlsx"}
    assert set(BY_MEDIA_TYPE.values()) == set(BY_EXTENSION.values()) == known


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("report.pdf", "report"),
        ("résumé final.pdf", "resume_final"),
        ("a.b.c.pdf", "a_b_c"),
        ("no-extension", "no-extension"),
        (".pdf", "default"),
        ("", "default"),
        ("报告.pdf", "default"),
        ("___.pdf", "default"),
        ("../../etc/passwd", "______etc_passwd"),
        ("x" * 300 + ".pdf", "x" * 100),
        ("\ufb01le \u2460.pdf", "file_1"),
        ("a\0b\r\n.pdf", "a_b__"),
    ],
)
def test_a_file_name_is_written_in_the_alphabet_of_the_api(filename: str, stem: str) -> None:
    """NFKD, marks removed, the rest an underscore, the extension cut off."""
    assert file_stem(filename, "default") == stem


@given(st.text(max_size=300))
def test_every_name_fits_the_pattern_of_the_api(filename: str) -> None:
    """Whatever the client wrote."""
    attachments = AttachmentList()
    attachments.add(part("Content-Type: application/pdf"), filename)
    assert FILE_NAME.match(attachments.items[0].filename)


def test_equal_names_get_numbers_that_are_free() -> None:
    """A number that another file already bears is passed over."""
    attachments = AttachmentList()
    for filename in ("a.pdf", "a_2.pdf", "a.pdf", "b.pdf", "a.pdf"):
        attachments.add(part("Content-Type: application/pdf"), filename)
    names = [one.filename for one in attachments.items]
    assert names == ["a.pdf", "a_2.pdf", "a_3.pdf", "b.pdf", "a_4.pdf"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Content-Disposition: attachment", ("attachment", "")),
        ("Content-Disposition: INLINE; filename=a.pdf", ("inline", "a.pdf")),
        ("Content-Type: application/pdf; name=b.pdf", ("", "b.pdf")),
        (
            "Content-Type: text/x; name=b.pdf\r\nContent-Disposition: attachment; filename=a.pdf",
            ("attachment", "a.pdf"),
        ),
        (
            "Content-Disposition: attachment; filename==?utf-8?q?=C3=A9=2Epdf?=",
            ("attachment", "é.pdf"),
        ),
        ("Content-Disposition: attachment; filename*=utf-8''%C3%A9.pdf", ("attachment", "é.pdf")),
        ("X-Other: 1", ("", "")),
    ],
)
def test_disposition_and_name_are_read(header: str, expected: tuple[str, str]) -> None:
    """The name of the disposition wins over the one of the type."""
    assert disposition(part(header)) == expected


def test_content_is_encoded_without_line_ends() -> None:
    """Padded standard base64, whatever the client used."""
    attachments = AttachmentList()
    header = "Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64"
    attachments.add(part(header, base64.encodebytes(bytes(range(200)))), "a.pdf")
    assert base64.b64decode(attachments.items[0].content, validate=True) == bytes(range(200))


def test_an_unsupported_file_is_refused_with_type_and_name() -> None:
    """The author of the program has to find it."""
    with pytest.raises(PartUnsupported) as refusal:
        AttachmentList().add(part("Content-Type: application/zip"), "data.zip")
    assert refusal.value.facts == {
        "part": "application/zip data.zip",
        "reason": "this type cannot be attached",
    }


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("base64", "the base64 data holds other characters"),
        ("x-zip", "its transfer encoding is unknown"),
    ],
)
def test_content_that_cannot_be_decoded_is_refused(encoding: str, reason: str) -> None:
    """Never delivered cut or as rubbish."""
    header = f"Content-Type: application/pdf\r\nContent-Transfer-Encoding: {encoding}"
    with pytest.raises(PartUnsupported) as refusal:
        content(part(header, b"plain text, surely"))
    assert refusal.value.facts["reason"] == reason


def test_text_in_an_unknown_transfer_encoding_is_taken_as_it_is() -> None:
    """Programs write a charset there; the text is readable all the same."""
    assert content(part("Content-Transfer-Encoding: utf-8", b"text")) == b"text"
