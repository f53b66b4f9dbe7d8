"""The convolution's figures: every body is there, computes the same and is measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.kernel import KERNEL_SIZE, bodies_for, measure_kernels
from lowlat_seg_ros.kernels.cpp import find_library

COMPARED = {"shift and add", "unfold and einsum", "memory copy"} | ({"C++"} if find_library() else set())


def test_all_bodies_compute_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 5, 7, 12, generator=generator)
    kernels = torch.randn(1, KERNEL_SIZE**2, 7, 12, generator=generator).softmax(1)
    bodies = bodies_for(feature, kernels)
    assert set(bodies) == COMPARED
    for name in COMPARED - {"memory copy"}:
        torch.testing.assert_close(bodies[name](), bodies["shift and add"](), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from Linux' /proc")
def test_every_body_of_every_size_has_its_row() -> None:
    rows = measure_kernels(2, grids=[(6, 8), (128, 128)], channel_counts=[32])
    assert {(row.body, row.height, row.channels) for row in rows} == {
        (body, height, 32) for body in COMPARED for height in (6, 128)
    }
    assert all(0 < row.p10 <= row.milliseconds <= row.p90 for row in rows)

    extra_mib = {row.body: row.extra_mib for row in rows if row.height == 128}
    assert extra_mib["unfold and einsum"] > 81 * 2  # the feature is 2 MiB
    assert all(extra_mib[body] < 3 * 2 + 4 for body in COMPARED - {"unfold and einsum"})
