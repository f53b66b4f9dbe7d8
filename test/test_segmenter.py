"""The library as a user sees it: recorded footage repeats, threads are put back, and the README's lines run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from stream_setup import STEP, GatedSlowNetwork, moving_frames, plain_frame, stream_network
from test_just_in_time import Stranger

import lowlat_seg_ros
from lowlat_seg_ros import Segmenter
from lowlat_seg_ros.data.clips import ClipError
from lowlat_seg_ros.data.video_writer import VideoWriter
from lowlat_seg_ros.fast.pictures import Preprocessor, as_image, frame_size, label_image
from lowlat_seg_ros.stream.key_frames import FixedInterval

CHECKOUT = Path(__file__).parents[1]
FRAMES = 12
PUBLIC = ("Error", "SegmentationResult", "Segmenter", "load_model")


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drive") / "drive.mp4"
    with VideoWriter(path, (96, 72), 15.0) as video:
        for frame in moving_frames(FRAMES, (96, 72)):
            video.write(frame)
    return path


@pytest.fixture(scope="module")
def segmenter() -> Iterator[Segmenter]:
    with Segmenter(stream_network(), policy=FixedInterval(4)) as segmenter:
        yield segmenter


def test_a_video_repeats_exactly(segmenter: Segmenter, drive: Path) -> None:
    first, again = (list(segmenter.video(drive)) for _ in range(2))
    assert len(first) == FRAMES
    for (frame, result), (_, repeated) in zip(first, again, strict=True):
        assert result.labels.shape == frame.shape[:2] == (72, 96)
        assert np.array_equal(result.labels, repeated.labels)
    assert [result.stamp for _, result in first[:3]] == [0, 66_666_667, 133_333_333]
    keys = [number for number, (_, result) in enumerate(first) if result.is_key_frame]
    assert keys == [0, 4, 8]


@pytest.mark.parametrize("delay", [1, 3])
def test_answers_arrive_after_the_counted_frames(segmenter: Segmenter, delay: int) -> None:
    stamped = [(frame, number * STEP) for number, frame in enumerate(moving_frames(FRAMES))]
    results = [result for _, result in segmenter.frames(stamped, delay_frames=delay)]
    assert [result.key_is_accurate for result in results[: delay + 1]] == [False] * delay + [True]
    assert results[delay].slow_track.done == 1


def test_the_time_of_a_recorded_frame_is_the_fast_tracks(segmenter: Segmenter) -> None:
    stamped = [(frame, number * STEP) for number, frame in enumerate(moving_frames(FRAMES))]
    for _, result in segmenter.frames(stamped, delay_frames=1):
        times = result.milliseconds
        assert 0 < times.low < times.total
        assert times.total >= times.low + times.schedule + times.propagate + times.labels - 1e-6


def test_stills_of_any_size_get_the_full_networks_labels(segmenter: Segmenter) -> None:
    network = stream_network()
    pictures = [*moving_frames(2), plain_frame(90, (50, 40)), moving_frames(1, (96, 72), seed=3)[0]]
    size = network.config.input_size
    for picture, result in segmenter.stills(pictures):
        with torch.inference_mode():
            expected = label_image(network(Preprocessor(size, torch.device("cpu"))(picture)), size, frame_size(picture))
        assert np.array_equal(result.labels, expected)
        assert result.warnings == () and result.is_key_frame


@pytest.mark.parametrize("sees_whole_frame", [False, True])
def test_stills_of_a_stranger_get_its_own_labels_whatever_came_before_them(sees_whole_frame: bool) -> None:
    """Of many classes each picture shows some: nothing is resampled, learned or carried. A picture may be a view."""
    stranger, cpu = Stranger(20), torch.device("cpu")
    stranger.sees_whole_frame = sees_whole_frame
    pictures = [plain_frame(40), *moving_frames(3), moving_frames(1, (50, 40), seed=3)[0][..., ::-1]]
    with Segmenter(stranger) as segmenter:
        size = segmenter._fast.config.input_size
        for order in (pictures, pictures[::-1]):
            for picture, result in segmenter.stills(order):
                image = as_image(picture, cpu) if sees_whole_frame else Preprocessor(size, cpu)(picture)
                expected = label_image(stranger.answer(image, image).logits, size, frame_size(picture))
                assert np.array_equal(result.labels, expected) and result.warnings == ()


def test_a_still_on_which_the_network_fails_does_not_show_the_one_before() -> None:
    network = GatedSlowNetwork(stream_network())
    with Segmenter(network) as segmenter:
        stills = segmenter.stills([moving_frames(1)[0], plain_frame(0)])
        next(stills)
        network.failure = MemoryError("no memory left")
        _, last = next(stills)
    assert not last.key_is_accurate and last.key_age_frames == 0
    assert any("no memory left" in warning for warning in last.warnings)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(3)
        cv2.setNumThreads(3)
        with Segmenter(stream_network(), fast_track_threads=1) as segmenter:
            assert cv2.getNumThreads() == 1
            segmenter.segment(moving_frames(1)[0], 0)
            assert torch.get_num_threads() == 3
        assert cv2.getNumThreads() == 3
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_a_video_that_is_not_there_is_told_at_once(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"nowhere\.mp4 does not exist"):
        segmenter.video(tmp_path / "nowhere.mp4")


def test_every_public_name_says_what_it_is_for() -> None:
    assert set(PUBLIC) <= set(dir(lowlat_seg_ros))
    for name in PUBLIC:
        public = getattr(lowlat_seg_ros, name)
        assert inspect.getdoc(public), name
        members = inspect.getmembers(public, inspect.isfunction) if inspect.isclass(public) else []
        for member, function in members:
            assert member.startswith("_") or inspect.getdoc(function), f"{name}.{member}"


@pytest.mark.parametrize("document", ["README.md"])
def test_the_documents_python_runs(document: str, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drive.parent)
    blocks = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / document).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, document, "exec"), {})
