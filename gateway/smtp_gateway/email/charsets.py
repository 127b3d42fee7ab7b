"""Octets to text: as declared, else UTF-8, else windows-1252 (cakemail-api 7.3).

Names are looked up in a table of ours, never by ``codecs.lookup``: that one imports modules by
name, remembers every unknown name for ever, and knows codecs that are no charsets, some of them
quadratic (``punycode``).
"""

from __future__ import annotations

from encodings.aliases import aliases
from typing import Final

_CODEC_NAMES: Final = (
    "ascii utf_8 utf_7 utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le"
    " latin_1 iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9"
    " iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16"
    " cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258"
    " cp437 cp850 cp852 cp855 cp857 cp858 cp860 cp861 cp862 cp863 cp864 cp865 cp866 cp869 cp874"
    " cp932 cp949 cp950 koi8_r koi8_u koi8_t kz1048 mac_roman mac_cyrillic mac_greek mac_latin2"
    " mac_turkish mac_iceland tis_620 big5 big5hkscs gb2312 gbk gb18030 hz"
    " iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3 iso2022_jp_ext iso2022_kr"
    " shift_jis shift_jis_2004 shift_jisx0213 euc_jp euc_jis_2004 euc_jisx0213 euc_kr johab"
    " ptcp154 hp_roman8"
)
_CODECS: Final = frozenset(_CODEC_NAMES.split())
_OWN_NAMES: Final = {
    "unicode_1_1_utf_8": "utf_8",
    "utf8mb4": "utf_8",
    "x_gbk": "gbk",
    "x_euc_jp": "euc_jp",
    "x_sjis": "cp932",
    "windows_31j": "cp932",
    "cp_850": "cp850",
    "macintosh": "mac_roman",
    "x_mac_roman": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "windows_874": "cp874",
    "windows_949": "cp949",
    "ks_c_5601_1987": "cp949",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "dos_862": "cp862",
    "koi": "koi8_r",
    "koi8": "koi8_r",
    "koi8_ru": "koi8_u",
    "ansi_x3_4_1968": "ascii",
    "us_ascii": "ascii",
    "": "ascii",
}
_NAMES: Final = (
    {name: name for name in _CODECS}
    | {alias: codec for alias, codec in aliases.items() if codec in _CODECS}
    | _OWN_NAMES
)
# A text that its narrow charset cannot hold was mostly written in the wide one of the same family.
_WIDER: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "hz": "gb18030",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
_NORMAL: Final = str.maketrans("- .:", "____")
_C1: Final = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # not assigned
}


def codec(charset: str) -> str | None:
    """Python's name of a charset, or None when it is unknown."""
    return _NAMES.get(charset.strip().lower().translate(_NORMAL))


def windows_1252(data: bytes) -> str:
    """The last resort: every octet has a meaning."""
    return data.decode("latin-1").translate(_C1)


def decode(data: bytes, charset: str) -> str:
    """Text of ``data``; ``charset`` is what its header declares, "" for nothing."""
    name = codec(charset)
    text = _strictly(data, name) if name else None
    if text is None:
        text = _strictly(data, "utf_8")
    if text is None and name in _WIDER:
        text = _strictly(data, _WIDER[name])
    return windows_1252(data) if text is None else text


def _strictly(data: bytes, name: str) -> str | None:
    try:
        text = data.decode(name)
        if name == "utf_7":
            text.encode("utf-8")  # UTF-7 can spell half a surrogate pair, which is no text
    except UnicodeError:
        return None
    if name == "latin_1" and _has_c1(data):
        return None  # controls that nobody writes: it is UTF-8 or windows-1252, named wrongly
    return text


_C1_OCTETS: Final = bytes(range(0x80, 0xA0))


def _has_c1(data: bytes) -> bool:
    return not data.isascii() and len(data.translate(None, _C1_OCTETS)) != len(data)
