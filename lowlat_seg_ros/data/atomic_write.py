"""Files that are never seen half written."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def atomic_write(path: Path, content: bytes) -> None:
    """Write beside, then rename: whoever reads sees the old file or the new one, never half of one.

    The folder is made if it is missing. Raises OSError; nothing but the old file is then left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of this writer's own: two may write the same file at once.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a loss of power may leave the new name with nothing in it
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
