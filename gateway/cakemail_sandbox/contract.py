"""The published contract as code: every request is judged by ``contract.json`` and nothing else.

The file holds the facts of the API's OpenAPI document (names, types, patterns, limits) for the
paths in use. Errors are given the form that the service gives them: ``loc``, ``msg``, ``type``.

Three checks are stricter than the library's, because a lenient stand-in hides a gateway's fault:
addresses (the library only looks for an ``@``), patterns (in Python ``$`` also matches before a
final line feed) and whole numbers (``1.0`` is one to the library).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Problem = dict[str, Any]

_ADDRESS_BYTES: Final = 254  # RFC 5321 4.5.3.1.3, less the angle brackets
_LOCAL_BYTES: Final = 64  # RFC 5321 4.5.3.1.1
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"\Z')
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_BASE64_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# JSON Schema keyword -> message and type in the words of the service's framework.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "required": ("field required", "value_error.missing"),
    "type": ("value is not a valid {wanted}", "type_error.{wanted}"),
    "enum": ("value is not a valid enumeration member", "type_error.enum"),
    "minLength": ("ensure this value has enough characters", "value_error.any_str.min_length"),
    "maxLength": ("ensure this value has fewer characters", "value_error.any_str.max_length"),
    "minimum": ("ensure this value is large enough", "value_error.number.not_ge"),
    "maximum": ("ensure this value is small enough", "value_error.number.not_le"),
    "pattern": ("string does not match regex", "value_error.str.regex"),
    "format": ("value is not a valid {wanted}", "value_error.{wanted}"),
    "uniqueItems": ("the list has duplicated items", "value_error.list.unique_items"),
}
_UNKNOWN_WORDS = ("value is not valid", "value_error")


class Unacceptable(Exception):
    """The request does not fit the contract; ``problems`` is the ``detail`` of the answer."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


class Contract:
    """One OpenAPI document and the judgements made with it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:contract", resource)
        self._validators: dict[str, Any] = {}

    def parameters(self, path: str, method: str, place: str) -> list[dict[str, Any]]:
        """The parameters of an operation that stand in ``place`` (``query`` or ``path``)."""
        operation = self.document["paths"][path][method.lower()]
        return [each for each in operation.get("parameters", []) if each["in"] == place]

    def read_parameters(
        self, path: str, method: str, place: str, given: Mapping[str, str]
    ) -> dict[str, Any]:
        """Texts to values, defaults filled in.

        Raises:
            Unacceptable: a value does not fit; ``loc`` begins with ``place``.
        """
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for parameter in self.parameters(path, method, place):
            name, schema = parameter["name"], _absolute(parameter["schema"])
            if name not in given:
                values[name] = schema.get("default")
                continue
            values[name] = _coerced(given[name], schema)
            problems += self._problems(_key(schema), schema, values[name], [place, name])
        if problems:
            raise Unacceptable(problems)
        return values

    def check(self, schema_name: str, value: object) -> None:
        """Judge a request body.

        Raises:
            Unacceptable: with every fault, ``loc`` beginning with ``body``.
        """
        schema = {"$ref": f"urn:contract#/components/schemas/{schema_name}"}
        problems = self._problems(schema_name, schema, value, ["body"])
        if problems:
            raise Unacceptable(problems)

    def read_form(self, schema_name: str, given: Mapping[str, str]) -> dict[str, Any]:
        """A form to values, defaults filled in, judged like a body."""
        properties = self.document["components"]["schemas"][schema_name]["properties"]
        values = {
            name: _coerced(given[name], schema) if name in given else schema.get("default")
            for name, schema in properties.items()
        }
        present = {name: value for name, value in values.items() if value is not None}
        self.check(schema_name, present)
        return present

    def unknown_fields(self, schema_name: str, value: object) -> list[str]:
        """Dotted names of fields in ``value`` that the contract does not know; no fault, a fact."""
        root = {"$ref": f"#/components/schemas/{schema_name}"}
        return sorted(set(self._unknown(root, value, "")))

    def _unknown(self, schema: Mapping[str, Any], value: object, at: str) -> Iterator[str]:
        for form in self._forms(schema):
            known = form.get("properties")
            if isinstance(value, dict) and known is not None:
                for name, inner in value.items():
                    if name in known:
                        yield from self._unknown(known[name], inner, f"{at}{name}.")
                    else:
                        yield f"{at}{name}"
            elif isinstance(value, list) and "items" in form:
                for inner in value:
                    yield from self._unknown(form["items"], inner, at)

    def _forms(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            yield from self._forms(self.document["components"]["schemas"][name])
            return
        yield schema
        for inner in schema.get("anyOf", ()):
            yield from self._forms(inner)

    def _problems(
        self, key: str, schema: Mapping[str, Any], value: object, at: list[str | int]
    ) -> list[Problem]:
        validator = self._validators.get(key)
        if validator is None:
            validator = _VALIDATOR(schema, registry=self._registry, format_checker=_FORMATS)
            self._validators[key] = validator
        found: list[Problem] = []
        for error in _leaves(validator.iter_errors(value)):
            found += [each for each in _described(error, at) if each not in found]
        return found


@cache
def published() -> Contract:
    """The contract that the sandbox keeps; read once."""
    text = files(__package__).joinpath("contract.json").read_text(encoding="utf-8")
    return Contract(json.loads(text))


def is_address(value: object) -> bool:
    """RFC 5321 mailbox with a fully qualified domain, ASCII: what ``format: email`` allows."""
    if not isinstance(value, str):
        return True
    local, at, domain = value.rpartition("@")
    return bool(
        at
        and len(value) <= _ADDRESS_BYTES
        and len(local) <= _LOCAL_BYTES
        and (_DOT_ATOM.match(local) or _QUOTED.match(local))
        and _DOMAIN.match(domain)
    )


def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or bool(_UUID.match(value))


def is_base64(value: str) -> bool:
    """Equal to the attachment pattern, in a thousandth of its time on a body of 34 MiB."""
    if len(value) % 4 or not value.isascii():
        return False
    rest = value.encode().translate(None, _BASE64_LETTERS)
    return rest in {b"", b"=", b"=="} and value.endswith(rest.decode())


def _pattern(
    _validator: object, pattern: str, value: object, _schema: object
) -> Iterator[ValidationError]:
    if not isinstance(value, str):
        return
    if pattern == _BASE64:
        fits = is_base64(value)
    else:
        fits = re.search(re.sub(r"\$\Z", r"\\Z", pattern), value) is not None
    if not fits:
        yield ValidationError("string does not match regex")


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FORMATS = FormatChecker(formats=())
_FORMATS.checks("email")(is_address)
_FORMATS.checks("uuid")(_is_uuid)
_VALIDATOR: Any = extend(  # type: ignore[no-untyped-call]  # untyped in the library's stubs
    Draft202012Validator,
    validators={"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _key(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)


def _absolute(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same schema, readable outside the document in which it stands."""
    local = str(schema.get("$ref", ""))
    return {**schema, "$ref": f"urn:contract{local}"} if local.startswith("#") else schema


def _coerced(text: str, schema: Mapping[str, Any]) -> Any:
    """What the text means to a parameter of this type; the text itself when it means nothing."""
    wanted = schema.get("type")
    if wanted == "integer" and re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return int(text)
    if wanted == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    return text


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """For an alternative, the faults of the branch that was meant: the one of the right type."""
    for error in errors:
        if error.validator != "anyOf":
            yield error
            continue
        branches: dict[object, list[ValidationError]] = {}
        for inner in error.context or ():
            branches.setdefault(inner.schema_path[0], []).append(inner)
        meant = [each for each in branches.values() if not _wrong_type(each, error)]
        yield from _leaves((meant or list(branches.values()))[0])


def _wrong_type(branch: list[ValidationError], parent: ValidationError) -> bool:
    return any(
        each.validator == "type" and len(each.absolute_path) == len(parent.absolute_path)
        for each in branch
    )


def _described(error: ValidationError, at: list[str | int]) -> Iterator[Problem]:
    place = [*at, *error.absolute_path]
    keyword = str(error.validator)
    message, kind = _WORDS.get(keyword, _UNKNOWN_WORDS)
    given: Any = error.validator_value
    wanted = str(given)
    if keyword == "required":
        instance: Any = error.instance
        missing = [name for name in given if name not in instance]
        for name in missing:
            yield {"loc": [*place, name], "msg": message, "type": kind}
        return
    yield {"loc": place, "msg": message.format(wanted=wanted), "type": kind.format(wanted=wanted)}
