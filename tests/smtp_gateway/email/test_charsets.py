"""Charsets: as declared, else UTF-8, else windows-1252."""

from __future__ import annotations

import encodings
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.charsets import codec, decode


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "naïve €"),
        ("UTF8", "naïve €"),
        ("iso-8859-1", "café"),
        ("ISO_8859-15", "œ€"),
        ("windows-1251", "Привет"),
        ("koi8-r", "Привет"),
        ("iso-2022-jp", "こんにちは"),
        ("shift_jis", "テスト"),
        ("euc-jp", "テスト"),
        ("gb18030", "你好"),
        ("big5", "測試"),
        ("euc-kr", "한국"),
        ("ks_c_5601-1987", "한국"),
        ("utf-16", "wide"),
        ("macintosh", "café"),
        ("iso-8859-8-i", "שלום"),
    ],
)
def test_a_declared_charset_is_used(charset: str, text: str) -> None:
    """The usual names, in any spelling that mail programs write."""
    name = codec(charset)
    assert name is not None
    assert decode(text.encode(name), charset) == text


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("naïve".encode(), "us-ascii", "naïve"),
        ("naïve".encode(), "", "naïve"),
        ("naïve".encode(), "x-unknown", "naïve"),
        (b"na\xefve \x80", "utf-8", "naïve €"),
        (b"na\xefve", "x-unknown", "naïve"),
        (b"\x93quoted\x94", "iso-8859-1", "“quoted”"),
        ("“quoted”".encode(), "iso-8859-1", "“quoted”"),
        ("朱镕基".encode("gbk"), "gb2312", "朱镕基"),
        ("①".encode("cp932"), "shift_jis", "①"),
        (b"\x81\x8d", "utf-8", "\x81\x8d"),
    ],
)
def test_a_wrong_charset_falls_back(data: bytes, charset: str, text: str) -> None:
    """UTF-8 if it decodes, else windows-1252; controls in latin-1 mean that the name is wrong."""
    assert decode(data, charset) == text


@pytest.mark.parametrize("charset", ["punycode", "idna", "rot13", "hex", "zlib", "unicode_escape"])
def test_a_codec_that_is_no_charset_is_unknown(charset: str) -> None:
    """Python has codecs that are slow, or change what is no text."""
    assert codec(charset) is None


def test_an_unknown_charset_leaves_nothing_behind() -> None:
    """A stranger's names must not fill Python's own cache of codecs."""
    before = len(vars(encodings)["_cache"])
    for number in range(100):
        decode(b"x", f"x-never-heard-of-{number}")
    assert len(vars(encodings)["_cache"]) == before
    assert not [name for name in sys.modules if "never_heard" in name]


@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-7", "iso-2022-jp", "x", "hz"]))
def test_whatever_is_decoded_is_text(data: bytes, charset: str) -> None:
    """Half a surrogate pair could not be sent on as JSON."""
    decode(data, charset).encode("utf-8")
