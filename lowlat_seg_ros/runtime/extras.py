"""Libraries that only some networks need."""

from __future__ import annotations

import importlib
from typing import Any

from lowlat_seg_ros.errors import Error, in_one_line


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """The module; raises an Error that names the extra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Error(
            f"{purpose} needs {module}, which cannot be imported ({in_one_line(error)}); "
            f"type: pip install 'lowlat-seg-ros[{extra}]'"
        ) from error
