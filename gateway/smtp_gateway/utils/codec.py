"""JSON with the fast library when it is there, with the standard one otherwise.

Both give the same bytes for the same value and read the same documents, which a test holds them
to; so a machine without the fast library loses time and nothing else (performance 3).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Encoder = Callable[[Any], bytes]
"""A value made of dict, list, str, int, bool and None, to compact UTF-8 JSON."""

Decoder = Callable[[bytes], Any]
"""JSON bytes to a value; raises ValueError for anything that is no JSON."""


def standard_dumps(value: Any) -> bytes:
    """The standard library's compact JSON, UTF-8 and unescaped like the fast library's."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def standard_loads(document: bytes) -> Any:
    """Read JSON; strict UTF-8, no NaN, and nesting too deep is an error like any other."""
    try:
        return json.loads(document.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")  # RFC 8259 section 6: Infinity and NaN are no numbers


dumps: Encoder
loads: Decoder
try:
    import orjson

    dumps, loads = orjson.dumps, orjson.loads
except ImportError:  # the extra `gateway` brings it; without it everything works, slower
    dumps, loads = standard_dumps, standard_loads
