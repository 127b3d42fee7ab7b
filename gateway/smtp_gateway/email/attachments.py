"""Attachments: which types the API takes, and under which names (cakemail-api 2 and 7.3).

The table of types is data, because the API's has grown before.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from smtp_gateway.email.headers import decode_words, parameters
from smtp_gateway.email.message import Attachment
from smtp_gateway.email.parser import Part
from smtp_gateway.email.transfer import DECODERS, FAST, Damaged, encoding_name
from smtp_gateway.errors import PartUnsupported

_OPENXML = "application/vnd.openxmlformats-officedocument."
BY_MEDIA_TYPE: Final[Mapping[str, str]] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/msword": "doc",
    _OPENXML + "wordprocessingml.document": "docx",
    "text/calendar": "calendar",
    "application/ics": "calendar",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/pjpeg": "jpeg",
    "application/pdf": "pdf",
    "image/png": "png",
    "application/vnd.ms-excel": "xls",
    _OPENXML + "spreadsheetml.sheet": "xlsx",
}
BY_EXTENSION: Final[Mapping[str, str]] = {
    "csv": "csv",
    "doc": "doc",
    "docx": "docx",
    "ics": "calendar",
    "jpg": "jpeg",
    "jpeg": "jpeg",
    "pdf": "pdf",
    "png": "png",
    "xls": "xls",
    "xlsx": "xlsx",
}
# Windows programs call a csv file so, because a spreadsheet program opens it.
BY_BOTH: Final[Mapping[tuple[str, str], str]] = {("application/vnd.ms-excel", "csv"): "csv"}
EXTENSIONS: Final[Mapping[str, str]] = {"calendar": "ics"}  # the others are named like the type
# These say nothing, so the file's name decides.
_VAGUE: Final = frozenset({"application/octet-stream", "text/plain"})
MAX_STEM_CHARACTERS = 100
_MAX_NAME_CHARACTERS = 1_000  # before normalisation, which is not linear

_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,10})\Z")
_NOT_IN_STEM = re.compile(r"[^A-Za-z0-9_-]")
_LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")


def disposition(part: Part) -> tuple[str, str]:
    """Disposition in lower case, and the decoded file name, each "" when there is none."""
    value = part.first("content-disposition") or ""
    kind = value.partition(";")[0].strip().lower()
    name = parameters(value).get("filename") if ";" in value else None
    if name is None:
        name = part.media.parameters.get("name", "")
    # RFC 2047 5 forbids encoded words in parameters; most clients write them nevertheless.
    return kind, decode_words(name).strip()


def attachment_type(part: Part, filename: str) -> str | None:
    """The API's word for this part, or None when it takes no such file."""
    found = _EXTENSION.search(filename)
    extension = found[1].lower() if found else ""
    media = part.media.type
    if not part.media.declared or media in _VAGUE:
        return BY_EXTENSION.get(extension)
    return BY_BOTH.get((media, extension)) or BY_MEDIA_TYPE.get(media)


def file_stem(filename: str, default: str) -> str:
    """A file name without its extension in the API's alphabet; ``default`` if nothing is left."""
    stem = _EXTENSION.sub("", filename[:_MAX_NAME_CHARACTERS])
    decomposed = unicodedata.normalize("NFKD", stem)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    stem = _NOT_IN_STEM.sub("_", plain)[:MAX_STEM_CHARACTERS]
    return stem if _LETTER_OR_DIGIT.search(stem) else default


class AttachmentList:
    """The attachments of one message, in order, each under a name of its own."""

    def __init__(self) -> None:
        self.items: list[Attachment] = []
        self._names: set[str] = set()
        self._next: dict[str, int] = {}

    def add(self, part: Part, filename: str, default: str = "attachment") -> None:
        """Attach a part.

        Raises:
            PartUnsupported: the API takes no such type, or the content cannot be decoded.
        """
        kind = attachment_type(part, filename)
        if kind is None:
            raise unsupported(part, filename, "this type cannot be attached")
        name = self._name(file_stem(filename, default), EXTENSIONS.get(kind, kind))
        self.items.append(Attachment(name, kind, FAST.encode(content(part, filename))))

    def _name(self, stem: str, extension: str) -> str:
        name = f"{stem}.{extension}"
        number = self._next.get(name, 2)
        unique = name
        while unique in self._names:
            unique = f"{stem}_{number}.{extension}"
            number += 1
        self._next[name] = number
        self._names.add(unique)
        return unique


def content(part: Part, filename: str = "") -> bytes:
    """The decoded content of a leaf.

    Raises:
        PartUnsupported: the transfer encoding is unknown, or the data is damaged.
    """
    name = encoding_name(part.first("content-transfer-encoding"))
    decoder = DECODERS.get(name)
    if decoder is None:
        # RFC 2045 6.4 has it treated as octets of unknown meaning; text is readable all the same.
        if part.media.type in {"text/plain", "text/html"}:
            return part.body()
        raise unsupported(part, filename, "its transfer encoding is unknown")
    try:
        return decoder(part.body())
    except Damaged as damage:
        raise unsupported(part, filename, str(damage)) from None


def unsupported(part: Part, filename: str, reason: str) -> PartUnsupported:
    """The refusal that names type and file (cakemail-api 7.3)."""
    named = f" {filename[:MAX_STEM_CHARACTERS]}" if filename else ""
    return PartUnsupported(part=f"{part.media.type}{named}", reason=reason)
