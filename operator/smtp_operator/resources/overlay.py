"""``spec.podTemplate`` laid over the rendered pod template.

The merge is done here, not by a second field manager: two managers on one template would cause
two rollouts. It follows the API's own strategic merge where that has list keys, so that what
people know from ``kubectl patch`` holds.

    mapping over mapping    field by field; ``null`` removes the field
    list with a key         element by element, by that key; new elements go to the end
    ``envFrom``             appended: replacing it would drop the gateway's own configuration
    anything else           replaces
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str, ...]

# Field name -> what tells its elements apart (patchMergeKey in the API's own schema; a port is
# told apart by number and protocol, as server-side apply does it).
LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
DEFAULTS = {"protocol": "TCP"}  # of key fields that may be left out
APPENDED = frozenset({"envFrom"})


class OverlayMalformed(Exception):
    """The overlay has another shape than a pod template; the text says where."""


def merge(base: Any, over: Any, path: Path = ()) -> Any:
    """``over`` laid over ``base``; neither is changed.

    Raises:
        OverlayMalformed: a mapping or list of the pod template is met by something else.
    """
    if isinstance(base, Mapping):
        return _merged_mapping(base, _expect(over, Mapping, "an object", path), path)
    if isinstance(base, list):
        return _merged_list(base, _expect(over, list, "a list", path), path)
    return over


def _expect(value: Any, kind: type, noun: str, path: Path) -> Any:
    if not isinstance(value, kind):
        raise OverlayMalformed(f"podTemplate.{'.'.join(path)} must be {noun}")
    return value


def _merged_mapping(base: Mapping[str, Any], over: Mapping[str, Any], path: Path) -> dict[str, Any]:
    made = dict(base)
    for name, value in over.items():
        if value is None:
            made.pop(name, None)
        elif name in made:
            made[name] = merge(made[name], value, (*path, name))
        else:
            made[name] = value
    return made


def _merged_list(base: list[Any], over: list[Any], path: Path) -> list[Any]:
    field = path[-1] if path else ""
    if field in APPENDED:
        return [*base, *over]
    key_fields = LIST_KEYS.get(field)
    if key_fields is None:
        return list(over)
    made = {_key(item, key_fields, path): item for item in base}
    for item in over:
        key = _key(item, key_fields, path)
        made[key] = merge(made[key], item, path) if key in made else item
    return list(made.values())


def _key(item: Any, fields: tuple[str, ...], path: Path) -> tuple[Any, ...]:
    where = ".".join(path)
    if not isinstance(item, Mapping):
        raise OverlayMalformed(f"podTemplate.{where} must be a list of objects")
    key = tuple(item.get(name, DEFAULTS.get(name)) for name in fields)
    missing = [name for name, value in zip(fields, key, strict=True) if value is None]
    if missing:
        raise OverlayMalformed(f"podTemplate.{where}: each element needs {', '.join(missing)}")
    odd = [name for name, value in zip(fields, key, strict=True) if not _is_scalar(value)]
    if odd:
        text = f"podTemplate.{where}: {', '.join(odd)} must be a text or a number"
        raise OverlayMalformed(text)
    return key


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float))
