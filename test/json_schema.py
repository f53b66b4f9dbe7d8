"""As much of JSON Schema as docs/replay_report.schema.json uses, so that no package is needed to check a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KEYWORDS = {"type", "enum", "properties", "required", "additionalProperties", "items", "$ref"}
NOTES = {"$schema", "title", "description", "$defs"}


def violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """What of ``value`` is not as the schema says, a line each."""
    assert schema.keys() <= KEYWORDS | NOTES, f"{where}: this checker does not know {schema.keys() - KEYWORDS - NOTES}"
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, where)
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}"
    if "type" in schema and not _is_of(value, schema["type"]):
        yield f"{where} is {value!r}; expected {schema['type']}"
    if isinstance(value, dict):
        yield from _violations_inside(value, schema, root, where)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], root, f"{where}[{index}]")


def _violations_inside(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], where: str
) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    yield from (f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        if name in properties:
            yield from violations(item, properties[name], root, f"{where}.{name}")
        elif isinstance(others, Mapping):
            yield from violations(item, others, root, f"{where}.{name}")
        elif not others:
            yield f"{where} has an unknown {name}"


def _is_of(value: Any, names: str | list[str]) -> bool:
    names = [names] if isinstance(names, str) else names
    return any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)
