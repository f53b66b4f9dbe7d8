"""How long each thing takes on the computer that a replay imagines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Final

from lowlat_seg_ros.evaluation.rows import SettingsError

NANOSECONDS_A_MILLISECOND: Final = 1_000_000

REFERENCE_PROFILE: Final = "reference_profile.json"


@dataclass(frozen=True)
class Profile:
    """How long each thing takes on the computer that a replay imagines. Milliseconds."""

    name: str  # which computer
    fast_ms: float  # an ordinary frame in the fast track
    key_frame_ms: float  # a key frame in the fast track, until its labels
    slow_ms: float  # Sh in the slow track
    full_ms: float  # the full network on one frame; also a key frame that waits for Sh
    single_ms: float  # the fast single-frame network on one frame

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SettingsError(f"a profile's name is {self.name!r}; expected which computer it is of")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and 0 < value < 3_600_000):
                raise SettingsError(f"a profile's {field.name} is {value!r}; expected milliseconds above 0")

    def nanoseconds(self, name: str) -> int:
        """A duration as a whole number, so that simulated time never rounds."""
        return round(getattr(self, name) * NANOSECONDS_A_MILLISECOND)

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def load_profile(path: Path) -> Profile:
    """Read a profile, as ``lowlat-seg replay --measure`` writes it, or the one in a ``report.json``.

    Raises:
        SettingsError: the file cannot be read or holds no profile.
    """
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as a profile: {' '.join(str(error).split())}") from error
    is_report = isinstance(mapping, Mapping) and "profile" in mapping
    return _profile_from(mapping["profile"] if is_report else mapping, str(path))


def reference_profile() -> Profile:
    """The shipped one, so that a replay without another gives the same result on every machine."""
    text = resources.files("lowlat_seg_ros.replay").joinpath(REFERENCE_PROFILE).read_text(encoding="utf-8")
    return _profile_from(json.loads(text), REFERENCE_PROFILE)


def _profile_from(mapping: Any, source: str) -> Profile:
    names = {field.name for field in fields(Profile)}
    if not isinstance(mapping, Mapping) or mapping.keys() != names:
        raise SettingsError(f"{source} holds no profile; expected a JSON object with {', '.join(sorted(names))}")
    try:
        return Profile(**mapping)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from error
