"""Header values: encoded words, parameters, and what travels on."""

from __future__ import annotations

import email.header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.headers import (
    Field,
    MediaType,
    decode_words,
    encode_words,
    media_type,
    one_line,
    outgoing,
    parameters,
    travels,
)
from smtp_gateway.errors import HeaderInvalid


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?caf=C3=A9_au_lait?=", "café au lait"),
        ("=?UTF-8?B?Y2Fmw6k=?=", "café"),
        ("=?utf-8*fr?q?caf=C3=A9?=", "café"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= \t =?iso-8859-1?q?=E9?=", "aé"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),
        ("=?utf-8?b?YQ?=", "a"),
        ("=?utf-8?b?YWJj!ZA?=", "abcd"),
        ("=?x-unknown?q?caf=E9?=", "café"),
        ("x=?utf-8?q?y?=z", "xyz"),
        ("=?utf-8?q?with blank?=", "with blank"),
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?utf-8?q?no end", "=?utf-8?q?no end"),
        ("=?utf-8?q?a=0Bb?=", "a\vb"),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
    ],
)
def test_encoded_words_are_decoded(value: str, text: str) -> None:
    """Adjacent words join, a character cut in two is mended, what is no word stays."""
    assert decode_words(value) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=80))
def test_what_is_encoded_here_is_read_back(text: str) -> None:
    """Our words mean the same to us, and are ASCII without any control."""
    value = " ".join(text.split(" ")).strip(" \t")
    if "=?" in value:
        return
    encoded = encode_words(value)
    assert encoded.isascii()
    assert decode_words(encoded) == value
    assert all(len(word) <= 75 for word in encoded.split() if word.startswith("=?utf-8?b?"))


def test_the_standard_library_reads_our_words() -> None:
    """An independent reader finds the text that was meant."""
    encoded = encode_words("né " * 40 + "plain")
    decoded = str(email.header.make_header(email.header.decode_header(encoded)))
    assert decoded == "né " * 40 + "plain"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ('"Zoë B" <z@x.test>', "=?utf-8?b?Wm/DqyBC?= <z@x.test>"),
        ("Zoë B <z@x.test>", "=?utf-8?b?Wm/Dqw==?= B <z@x.test>"),
        ('"plain" <z@x.test>, Ü <u@x.test>', '"plain" <z@x.test>, =?utf-8?b?w5w=?= <u@x.test>'),
        ('"a \\" é', "=?utf-8?b?ImEgXCIgw6k=?="),
    ],
)
def test_no_encoded_word_stands_inside_quotes_of_an_address_field(value: str, encoded: str) -> None:
    """RFC 2047 5: there it would be text; the whole quoted name becomes the word."""
    assert encode_words(value, structured=True) == encoded


def test_a_line_of_decoded_text_has_no_line_end_of_any_kind() -> None:
    """What others may take for a line end becomes a blank; other controls go."""
    text = "a\r\nb\x0bc\x0cd\x1ce\x1df\x1eg\x85h\u2028i\u2029j\0k\x07l\tm"
    assert one_line(text) == "a b c d e f g h i jkl\tm"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/HTML; Charset=UTF-8", ("text/html", {"charset": "UTF-8"})),
        ('text/plain; charset="utf-8"; format=flowed', None),
        ('multipart/mixed; boundary="a;b\\"c"', ("multipart/mixed", {"boundary": 'a;b"c'})),
        ("text/plain (comment); charset=x", ("text/plain", {"charset": "x"})),
        ("application/pdf ; name = a b.pdf ", ("application/pdf", {"name": "a b.pdf"})),
        ("text/plain; a=1; a=2", ("text/plain", {"a": "1"})),
        ('text/plain; a="open', ("text/plain", {"a": '"open'})),
        ("text/plain; empty=; =x; a", ("text/plain", {"empty": ""})),
    ],
)
def test_a_media_type_is_read(value: str, expected: tuple[str, dict[str, str]] | None) -> None:
    """Type in lower case, parameters by name, the first of each."""
    wanted = expected or ("text/plain", {"charset": "utf-8", "format": "flowed"})
    assert media_type(value, MediaType("x/y", {}, declared=False)) == (*wanted, True)


@pytest.mark.parametrize("value", ["", "pdf", "text/", "/plain", "a/b/c", "text/pl\x00ain", "é/x"])
def test_an_unreadable_media_type_is_the_default(value: str) -> None:
    """Its parameters still count."""
    default = MediaType("text/plain", {}, declared=False)
    assert media_type(f"{value}; name=a.pdf", default) == ("text/plain", {"name": "a.pdf"}, False)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("; name*=utf-8''caf%C3%A9.pdf", "café.pdf"),
        ("; name=old.pdf; name*=utf-8'en'new.pdf", "new.pdf"),
        ("; name*0=a; name*1=b; name*2=c", "abc"),
        ("; name*1=b; name*0=a", "ab"),
        ("; name*0*=iso-8859-1''caf%E9; name*1=\" x%41\"", "café x%41"),
        ("; name*0*=utf-8''%C3; name*1*=%A9", "é"),
        ("; name*=no-quotes%20here", "no-quotes here"),
        ("; name*=x-none''caf%E9", "café"),
        ("; name*99999=x; name=kept", "kept"),
    ],
)
def test_parameters_are_joined_and_decoded(value: str, name: str) -> None:
    """RFC 2231: continuations in their order, charset of the first, damage borne."""
    assert parameters(value)["name"] == name


@pytest.mark.parametrize(
    "key", ["reply-to", "message-id", "list-id", "references", "x-anything", "precedence"]
)
def test_ordinary_fields_travel(key: str) -> None:
    """Whatever Cakemail does not write itself reaches the recipient."""
    assert travels(key)


@pytest.mark.parametrize(
    "key",
    ["from", "to", "cc", "bcc", "date", "received", "content-type", "resent-to", "arc-seal"],
)
def test_fields_of_the_way_here_do_not_travel(key: str) -> None:
    """Bcc least of all."""
    assert not travels(key)


@pytest.mark.trap(21)
@pytest.mark.parametrize("value", ["a\0b", "a\rb", "a\nb"])
def test_a_value_that_could_forge_a_line_is_refused(value: str) -> None:
    """CR, LF and NUL never go on."""
    with pytest.raises(HeaderInvalid) as refusal:
        outgoing(Field("X-Note", "x-note", value))
    assert refusal.value.facts["header"] == "X-Note"


@given(st.text(max_size=100))
def test_what_goes_on_is_printable_ascii(value: str) -> None:
    """Whatever stood in the value: refused, or printable ASCII and tabs."""
    try:
        _, sent = outgoing(Field("X-Note", "x-note", value))
    except HeaderInvalid:
        return
    assert all(c == "\t" or " " <= c <= "~" for c in sent)
