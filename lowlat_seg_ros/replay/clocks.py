"""The two clocks of a camera's recording: the stamps in the headers, and the times at which the recorder received it.

Recorders receive in bursts, late or all at once; drivers stamp with 0, with a counter, or by a clock that is set while
they run. ``camera_clock`` says by which of the two a recording is to be timed, and what is wrong with the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]  # nanoseconds

NANOSECONDS_A_SECOND: Final = 1_000_000_000

CLOCK_SET: Final = NANOSECONDS_A_SECOND
"""Nanoseconds. Where stamps go back by more, or ahead by more than the receive times, their clock was set."""

SHORTEST_PERIOD: Final = 100_000
LONGEST_PERIOD: Final = 3600 * NANOSECONDS_A_SECOND
"""Nanoseconds. No camera is faster than 10 kHz, or slower than a frame an hour: such times count something else."""

NEIGHBOURS: Final = 30
"""Frames that say whether a leap lasts, and within which what was late has been made up for."""

STRAY_WINDOW: Final = 7
"""Frames among whose stamps one that is far off all others is found."""

WORST_SHARE: Final = 0.05
"""Of the frames that may lie apart from their neighbours, or share their time, in a clock that is sane."""

ASSUMED_PERIOD: Final = NANOSECONDS_A_SECOND // 15
"""Nanoseconds, where neither clock runs."""

FAR_APART: Final = 0.05
"""Share by which two rates, or shares of frames by which two counts of lost frames, differ notably."""

Source = Literal["header stamps", "receive times", "none"]


class CameraClock(NamedTuple):
    """When a camera's frames were there, by whichever clock can be believed."""

    source: Source
    arrivals: Times  # of each frame in the order of receiving, never falling; on the recorder's clock, about
    stamps: Times  # of each frame, what to compare another topic's with: see ``paired``
    period: float | None  # nanoseconds; None where no time passes
    lost: int  # frames that the gaps would hold, about
    problems: tuple[str, ...]  # half-sentences: what is wrong with either clock

    @property
    def rate_hz(self) -> float | None:
        return None if self.period is None else NANOSECONDS_A_SECOND / self.period


def camera_clock(stamps: Times, received: Times, overflowing: int = 0) -> CameraClock:
    """Choose between the header stamps (N,) and the receive times (N,) of a camera's frames, which must not fall.

    Both are less than 2^62 either way. ``overflowing`` stamps have a second or more in their nanoseconds.
    """
    if len(stamps) < 2:
        return CameraClock("header stamps" if stamps.any() else "receive times", received, stamps, None, 0, ())
    mended, strays = without_strays(stamps)
    smoothed, sets = without_leaps(mended, received)
    reason = why_not_sane(smoothed, stamps)
    if overflowing > max(1, WORST_SHARE * len(stamps)):
        reason = f"{overflowing} of {len(stamps)} have a second or more in their nanoseconds"
    if reason is None:
        ordered = np.sort(smoothed)
        period, lost = usual_period(ordered), lost_frames(ordered)
        problems = (*_strays_in_words(strays), *_sets_in_words(sets), *_disagreement(ordered, received))
        # On the recorder's clock, so that cameras whose clocks differ keep step.
        offset = max(int(np.min(received - smoothed)), -int(ordered[0]))
        return CameraClock("header stamps", ordered + offset, stamps, period, lost, problems)
    period = usual_period(received)
    told = f"the header stamps are no times ({reason}); rate, gaps and deadline are those of the receive times"
    if period is not None and SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        return CameraClock("receive times", received, stamps, period, lost_frames(received), (told,))
    told = f"neither the header stamps ({reason}) nor the receive times advance; the rate is not known, nothing is late"
    return CameraClock("none", received + ASSUMED_PERIOD * np.arange(len(received)), stamps, None, 0, (told,))


def usual_period(times: Iterable[int] | Times) -> float | None:
    """Nanoseconds from frame to frame, of times that do not fall: the median, or the mean where they come in bursts.

    None where there are fewer than two, or no time passes.
    """
    steps = np.diff(np.asarray(times, np.int64)).astype(float)
    if not steps.any():
        return None
    median = float(np.median(steps))
    # Without pauses: what is far longer than all but the longest steps.
    common = np.sort(steps)[: max(1, int(np.ceil(len(steps) * (1 - WORST_SHARE))))]
    longest = 10 * common.mean() if common.any() else np.inf
    mean = float(steps[steps <= longest].mean())
    is_in_bursts = mean > 1.5 * median and np.mean(steps < mean / 2) > 0.4
    return mean if is_in_bursts else median


def lost_frames(times: Times) -> int:
    """About how many frames the gaps between these times, which do not fall, would hold.

    What counts is by how much the frames are behind for good: a late one is made up for by shorter steps after it, and
    one that comes early by a longer one.
    """
    period = usual_period(times)
    if period is None:
        return 0
    behind = (times - times[0]).astype(float) - period * np.arange(len(times))
    ahead, back = np.full(NEIGHBOURS - 1, np.inf), np.full(2 * NEIGHBOURS - 1, -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view
    without_late = windows(np.concatenate([behind, ahead]), NEIGHBOURS).min(axis=1)
    level = windows(np.concatenate([back, without_late]), 2 * NEIGHBOURS).max(axis=1)
    return int(np.maximum(0, np.round(np.diff(level) / period)).sum())


def without_strays(stamps: Times) -> tuple[Times, int]:
    """The stamps, with the few that lie far from all their neighbours' put between these, and how many they are."""
    if len(stamps) < STRAY_WINDOW:
        return stamps, 0
    padded = np.pad(stamps, STRAY_WINDOW // 2, "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, STRAY_WINDOW)
    middle = np.sort(windows, axis=1)[:, STRAY_WINDOW // 2]
    usual_step = int(np.median(np.abs(np.diff(stamps))))
    is_stray = np.abs(stamps - middle) > CLOCK_SET + STRAY_WINDOW * usual_step
    count = int(is_stray.sum())
    if count > max(1, WORST_SHARE * len(stamps)):
        return stamps, 0
    numbers, kept = np.arange(len(stamps)), np.flatnonzero(~is_stray)
    start = stamps[kept[0]]
    between = np.interp(numbers, kept, stamps[kept] - start).astype(np.int64)
    return np.where(is_stray, start + between, stamps), count


def without_leaps(stamps: Times, received: Times) -> tuple[Times, list[int]]:
    """The stamps as if nobody had set their clock, and the leaps in nanoseconds.

    A leap lasts: from it on the frames are by its width farther from their receive times, or nearer to them.
    """
    if received[-1] == received[0]:
        return stamps, []
    stamp_steps, receive_steps = np.diff(stamps), np.diff(received)
    leaps = stamp_steps - receive_steps
    is_wide = (stamp_steps < -CLOCK_SET) | ((leaps > CLOCK_SET) & (stamp_steps > 10 * receive_steps))
    offsets = received - stamps
    corrections = np.zeros(len(stamps), np.int64)
    found = []
    for index in np.flatnonzero(is_wide):
        before, after = offsets[max(0, index + 1 - NEIGHBOURS) : index + 1], offsets[index + 1 :][:NEIGHBOURS]
        lasting = int(np.min(before)) - int(np.min(after))
        if abs(lasting - int(leaps[index])) < abs(int(leaps[index])) / 2:
            corrections[index + 1] = leaps[index]
            found.append(int(stamp_steps[index]))
    return stamps - np.cumsum(corrections), found


def why_not_sane(smoothed: Times, stamps: Times) -> str | None:
    """What keeps stamps from being a camera's times, in half a sentence; None where nothing does."""
    count = len(smoothed)
    if not stamps.any():
        return "all are zero"
    distinct = len(np.unique(smoothed))
    if distinct < 2:
        return "all are the same"
    if count - distinct > max(1, WORST_SHARE * count):
        return f"{count - distinct + 1} of {count} share theirs with another frame"
    period = usual_period(np.sort(smoothed))
    if period is None or not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        return f"they advance by {(period or 0) / NANOSECONDS_A_SECOND:g} s a frame"
    displaced = int(np.sum(np.abs(np.sort(smoothed) - smoothed) > CLOCK_SET + 3 * period))
    if displaced:
        return f"{displaced} of {count} are not in the order of the frames by more than a second"
    return None


def _strays_in_words(strays: int) -> Iterable[str]:
    if strays:
        yield f"the header stamps of {strays} frames lie far from their neighbours'; they are timed by these"


def _sets_in_words(sets: list[int]) -> Iterable[str]:
    if sets:
        times = "" if len(sets) == 1 else f" ({len(sets)} times in all)"
        first = sets[0] / NANOSECONDS_A_SECOND
        yield f"the camera's clock was set, its stamps leap by {first:+.3f} s{times}; they are read as if it had not"


def _disagreement(stamps: Times, received: Times) -> Iterable[str]:
    """What the receive times would say, where it is something else. ``stamps`` do not fall."""
    by_stamp, by_receiving = (np.diff(times).astype(float) for times in (stamps, received))
    period, other = np.median(by_stamp), np.median(by_receiving)
    gaps, seeming_gaps = np.sum(by_stamp > 1.5 * period), np.sum(by_receiving > 1.5 * other)
    span, other_span = by_stamp.sum(), by_receiving.sum()
    if (
        abs(other - period) > FAR_APART * period
        or abs(seeming_gaps - gaps) > FAR_APART * len(stamps)
        or (other_span and abs(other_span - span) > FAR_APART * span + CLOCK_SET)
    ):
        least, most = by_receiving.min() / 1e6, by_receiving.max() / 1e6
        yield (
            f"the header stamps are {period / 1e6:.1f} ms apart, the receive times {least:.1f} to {most:.1f} ms; rate, "
            "gaps and deadline are those of the header stamps"
        )


def paired(frames: Times, frames_received: Times, others: Times, others_received: Times, widest: float) -> Times:
    """Which of the others belongs to each frame, (N,), or -1: the nearest in time, within ``widest``, one to one.

    Of several with the same stamp, those that were received nearest to each other.
    """
    chosen = np.full(len(frames), -1, np.int64)
    if not len(frames) or not len(others):
        return chosen
    order = np.argsort(others, kind="stable")
    ordered = others[order]
    first = np.searchsorted(ordered, frames - int(widest), "left")
    last = np.searchsorted(ordered, frames + int(widest), "right")
    at_once = others_received[order]
    candidates = [
        (abs(int(frames[frame] - ordered[at])), abs(int(frames_received[frame] - at_once[at])), frame, at)
        for frame in range(len(frames))
        for at in range(first[frame], min(last[frame], first[frame] + NEIGHBOURS))
    ]
    taken = set()
    for _, _, frame, at in sorted(candidates):
        if chosen[frame] < 0 and at not in taken:
            chosen[frame] = order[at]
            taken.add(at)
    return chosen
