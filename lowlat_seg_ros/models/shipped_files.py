"""Where the descriptions and recipes of config/ lie: beside the package in a checkout, in it or in share/ installed."""

from __future__ import annotations

from pathlib import Path


def shipped_config(name: str) -> Path:
    """The file of that name in ``config/``, as ``models/paper.yaml``; raises FileNotFoundError where there is none."""
    package = Path(__file__).parents[1]
    folders = [package / "config", package.parent / "config"]
    if len(package.parents) > 3:  # PREFIX/lib/python3.x/site-packages, as colcon installs it
        folders.append(package.parents[3] / "share" / "lowlat_seg_ros" / "config")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"config/{name} is not among the installed files of lowlat_seg_ros")
