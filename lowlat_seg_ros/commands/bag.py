"""``lowlat-seg bag``: make a ROS 2 bag of frames and labels, or say what is in one."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from lowlat_seg_ros.commands.label_options import add_label_options, given_classes
from lowlat_seg_ros.data.classes import UNLABELLED
from lowlat_seg_ros.data.clips import open_clip
from lowlat_seg_ros.data.known_labels import CAMVID_LABELS
from lowlat_seg_ros.data.label_classes import LabelClasses, label_classes
from lowlat_seg_ros.data.labelled_clips import labelled_frames
from lowlat_seg_ros.errors import printable, shown
from lowlat_seg_ros.replay.bag_writer import Compression, Storage, write_bag
from lowlat_seg_ros.replay.bags import Bag, BagError, open_bag, truth_topic

NANOSECONDS_A_SECOND = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_make_action(actions.add_parser("make", help="make a bag of a folder of pictures, a video or the word street"))
    _add_info_action(actions.add_parser("info", help="list a bag's topics, cameras and problems; needs no ROS"))


def _add_make_action(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("frames", help="folder of pictures, video file, or the word street")
    parser.add_argument("out", type=Path, help="folder of the new bag")
    parser.add_argument("--labels", type=Path, help="folder of PNG pictures of class ids, named as the frames are")
    add_label_options(parser, "camvid; with --void alone, whatever ids there are")
    parser.add_argument("--rate", type=float, metavar="HZ", help="frames per second, overriding the clip's own rate")
    parser.add_argument("--format", choices=get_args(Storage), default="mcap")
    parser.add_argument("--compression", choices=get_args(Compression), default="none")
    parser.set_defaults(run_command=make_bag)


def _add_info_action(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="folder of a bag, or one .mcap or .db3 file")
    parser.set_defaults(run_command=print_bag_info)


def make_bag(options: argparse.Namespace) -> None:
    """Write the bag that the arguments ask for and print what is in it."""
    clip = open_clip(options.frames, rate_hz=options.rate)
    frames = labelled_frames(clip, options.labels, classes_of_labels(options))
    progress = tqdm(frames, total=clip.frame_count, unit="frame", disable=not sys.stderr.isatty())
    written = write_bag(options.out, progress, clip.rate_hz, storage=options.format, compression=options.compression)
    frames_made = f"{written.frames} frames at {clip.rate_hz:g} Hz"
    print(f"{printable(str(options.out))}: {frames_made}, {written.labelled} of them with labels")
    if clip.problems.lines():
        print("\n".join(["problems:", *(f"  {line}" for line in clip.problems.report_lines())]))


def classes_of_labels(options: argparse.Namespace) -> LabelClasses:
    """What the label files hold: CamVid's ids unless told otherwise; with ``--void`` alone, whatever ids there are."""
    if options.void is None:
        return given_classes(options, CAMVID_LABELS)
    ids = {stored: stored for stored in range(UNLABELLED)}
    return given_classes(options, label_classes(ids, f"the ids in a bag end at {UNLABELLED - 1}"))


def print_bag_info(options: argparse.Namespace) -> None:
    """Print a bag's topics, cameras and problems."""
    with open_bag(options.bag) as bag:
        print("\n".join(bag_info(bag)))


def bag_info(bag: Bag) -> list[str]:
    """A bag's description, line by line."""
    lines = [_times_in_words(bag), "", "topics:"]
    lines += [
        f"  {printable(topic.name)}  {printable(topic.type)}  {topic.message_count} messages" for topic in bag.topics
    ] or ["  none"]
    lines += ["", "cameras:"]
    lines += [_camera_in_words(bag, topic) for topic in bag.camera_topics] or ["  none"]
    # Last: looking at the cameras is what finds some of them.
    lines += ["", "problems:"]
    lines += [f"  {line}" for line in bag.problems] or [
        "  none found; damage inside of single messages is found by reading them"
    ]
    return lines


def _times_in_words(bag: Bag) -> str:
    start, end = bag.time_range
    try:
        since = f", from {datetime.fromtimestamp(start / NANOSECONDS_A_SECOND, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):  # a time beyond all calendars
        since = ""
    count = sum(topic.message_count for topic in bag.topics)
    return f"{printable(str(bag.path))}: {count} messages in {(end - start) / NANOSECONDS_A_SECOND:.3f} s{since}"


def _camera_in_words(bag: Bag, topic: str) -> str:
    try:
        camera = bag.camera_summary(topic)
    except BagError as error:
        return f"  {printable(topic)}  {error}"
    truth = truth_topic(topic)
    rate = "rate not known" if camera.rate_hz is None else f"{camera.rate_hz:.2f} Hz by the {camera.clock}"
    return (
        f"  {printable(topic)}  {camera.size[0]}x{camera.size[1]} {printable(camera.encoding)}, {rate}, "
        f"{camera.frame_count} frames, about {camera.lost_frames} lost, frame_id {shown(camera.frame_id)}, "
        + (f"truth on {printable(truth)}" if any(each.name == truth for each in bag.topics) else "no truth")
    )
