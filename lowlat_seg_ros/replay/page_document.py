"""Builds a page from its templates: everything inside one file, and nothing let in from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.replay import page_formats as formats


def write_document(
    path: Path, template: str, scripts: tuple[str, ...], filters: Mapping[str, Callable[..., Any]], **values: Any
) -> None:
    """Render a template to ``path``, which holds the whole page or, if this fails, what it held before.

    Jinja escapes every value, so that a topic's name cannot become markup; should something slip through, the page's
    Content-Security-Policy lets only the style sheet and the script run that were put here, and nothing be fetched.
    """
    environment = _environment(filters)
    style = _source(environment, "style.css")
    script = "\n".join(_source(environment, name) for name in scripts)
    text = environment.get_template(template).render(
        values, style=style, script=script, policy=content_security_policy(style, script)
    )
    atomic_write(path, text.encode())


def content_security_policy(style: str, script: str) -> str:
    """Forbids the page everything but its own style sheet, its own script and the pictures in it."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode('ascii')}"


def _environment(filters: Mapping[str, Callable[..., Any]]) -> Environment:
    environment = Environment(
        loader=PackageLoader("lowlat_seg_ros.replay"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    for format_figure in (formats.count, formats.milliseconds, formats.percent, formats.seconds):
        environment.filters[format_figure.__name__] = format_figure
    environment.filters.update(filters)
    return environment


def _source(environment: Environment, name: str) -> str:
    """A template's text as it stands."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
