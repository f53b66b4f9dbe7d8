"""Child processes: what they say is heard, whoever else talks in between."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from node_setup import wait_until

from lowlat_seg_ros.ros.harness import Player

TALKER = """
import sys
print("\\x1b[37;1mXMLProfileManager\\x1b[31;1m Error", flush=True)
print('{"stamp": 1}', flush=True)
print("player: a word of its own", file=sys.stderr, flush=True)
print("", flush=True)
print('{"end": true}', flush=True)
sys.stdin.read()
"""


def test_a_library_that_logs_to_standard_output_silences_no_player(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast DDS 2 does, of a profile that says nothing."""
    (tmp_path / "talker.py").write_text(TALKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    player = Player("talker", [], tmp_path / "talker.log")
    try:
        wait_until(lambda: player.events.qsize() == 2, "both events")
        assert [player.events.get() for _ in range(2)] == [{"stamp": 1}, {"end": True}]
        player.finish()
    finally:
        player.close()
    log = (tmp_path / "talker.log").read_text()
    assert "XMLProfileManager" in log and "player: a word of its own" in log
