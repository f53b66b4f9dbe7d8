"""The paper's backbone: torchvision's names, the split after conv4_3 and what Sl costs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from small_networks import MODELS, random_image, small_config
from torch import nn

from lowlat_seg_ros.models.config import load_config
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.resnet import RESNET50_BLOCKS, RESNET101_BLOCKS, ResNet
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

Shapes = dict[str, tuple[int, ...]]
# He et al., table 1: inner and outer channels of the bottlenecks of conv2_x … conv5_x.
PUBLISHED_LAYERS = {"layer1": (64, 256), "layer2": (128, 512), "layer3": (256, 1024), "layer4": (512, 2048)}


def batch_norm_shapes(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in parts}, f"{name}.num_batches_tracked": ()}


def torchvision_shapes(block_counts: tuple[int, ...]) -> Shapes:
    """Names and shapes of torchvision's state dict, from the published structure rather than from our module."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **batch_norm_shapes("bn1", 64)}
    in_channels = 64
    for (layer, (inner, outer)), block_count in zip(PUBLISHED_LAYERS.items(), block_counts, strict=True):
        for index in range(block_count):
            block = f"{layer}.{index}"
            shapes[f"{block}.conv1.weight"] = (inner, in_channels, 1, 1)
            shapes[f"{block}.conv2.weight"] = (inner, inner, 3, 3)
            shapes[f"{block}.conv3.weight"] = (outer, inner, 1, 1)
            for norm, channels in (("bn1", inner), ("bn2", inner), ("bn3", outer)):
                shapes.update(batch_norm_shapes(f"{block}.{norm}", channels))
            if index == 0:
                shapes[f"{block}.downsample.0.weight"] = (outer, in_channels, 1, 1)
                shapes.update(batch_norm_shapes(f"{block}.downsample.1", outer))
            in_channels = outer
    return {**shapes, "fc.weight": (1000, 2048), "fc.bias": (1000,)}


def convolution(network: nn.Module, name: str) -> nn.Conv2d:
    module = network.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    return module


@pytest.fixture(scope="module")
def paper() -> SegmentationNetwork:
    return SegmentationNetwork(load_config(MODELS / "paper.yaml")).eval()


@pytest.mark.parametrize(
    ("block_counts", "published_parameters"), [(RESNET50_BLOCKS, 25_557_032), (RESNET101_BLOCKS, 44_549_160)]
)
def test_torchvisions_weights_load(block_counts: tuple[int, int, int, int], published_parameters: int) -> None:
    shapes = torchvision_shapes(block_counts)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(statistics))
    assert learned == published_parameters  # torchvision's own figure: the list above is the published network

    weights = {name: torch.full(shape, index / 1000) for index, (name, shape) in enumerate(shapes.items())}
    backbone = ResNet(block_counts, "layer3.2", output_stride=8)
    leftover = backbone.load_state_dict(weights, strict=False)
    assert leftover.missing_keys == []
    assert leftover.unexpected_keys == ["fc.weight", "fc.bias"]
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, weights[name].to(tensor.dtype))


def test_the_papers_backbone_carries_torchvisions_names(paper: SegmentationNetwork) -> None:
    shapes = {
        name.removeprefix("tracks.backbone."): tuple(tensor.shape)
        for name, tensor in paper.state_dict().items()
        if name.startswith("tracks.backbone.")
    }
    expected = torchvision_shapes(RESNET101_BLOCKS)
    assert shapes == {name: shape for name, shape in expected.items() if not name.startswith("fc.")}


def test_a_bottleneck_strides_in_its_3x3_convolution() -> None:
    """As torchvision's, whose ImageNet weights were trained that way; the original strides in the first 1x1."""
    backbone = ResNet(RESNET50_BLOCKS, "layer3.2", output_stride=32)
    names = ("layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0")
    assert [convolution(backbone, name).stride for name in names] == [(1, 1), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("output_stride", "dilations"), [(8, (1, 1, 1, 2, 2, 4)), (16, (1, 1, 1, 1, 1, 2)), (32, (1, 1, 1, 1, 1, 1))]
)
def test_layers_dilate_where_they_would_stride_too_far(output_stride: int, dilations: tuple[int, ...]) -> None:
    backbone = ResNet(RESNET50_BLOCKS, "layer1.0", output_stride)
    names = [f"layer{layer}.{block}.conv2" for layer in (2, 3, 4) for block in (0, 1)]
    assert tuple(convolution(backbone, name).dilation[0] for name in names) == dilations
    with torch.no_grad():
        high = backbone.eval().high(backbone.low(torch.zeros(1, 3, 65, 97)))
    assert high.shape == (1, 2048, math.ceil(65 / output_stride), math.ceil(97 / output_stride))


@pytest.mark.parametrize(
    ("split", "channels", "stride"), [("layer1.1", 256, 4), ("layer2.3", 512, 8), ("layer3.2", 1024, 8)]
)
def test_the_backbone_splits_after_any_block(split: str, channels: int, stride: int) -> None:
    torch.manual_seed(0)
    whole = ResNet(RESNET50_BLOCKS, "layer4.1", output_stride=8).eval()
    parted = ResNet(RESNET50_BLOCKS, split, output_stride=8).eval()
    parted.load_state_dict(whole.state_dict())
    image = random_image(65, 97)
    with torch.no_grad():
        low = parted.low(image)
        torch.testing.assert_close(parted.high(low), whole.high(whole.low(image)))
    assert (parted.low_channels, parted.low_stride) == (channels, stride)
    assert low.shape == (1, channels, math.ceil(65 / stride), math.ceil(97 / stride))


@pytest.mark.parametrize("split", ["layer4.2", "layer5.0", "layer3", "layer3.6", "blocks.4", ""])
def test_a_split_after_which_nothing_follows_is_refused(split: str) -> None:
    with pytest.raises(ValueError, match=rf"split is {split!r}; expected a block from 'layer1\.0' to 'layer4\.1'"):
        ResNet(RESNET50_BLOCKS, split, output_stride=8)


def test_the_papers_network_computes_a_frame_and_its_successor(paper: SegmentationNetwork) -> None:
    with torch.no_grad():
        key, current = (paper.low_features(random_image(65, 97, seed=seed)) for seed in (1, 2))
        high = paper.high_features(random_image(65, 97, seed=1), key.low)
        logits = paper.classify(paper.propagate(high, key, current).high)
        deviation = paper.predicted_deviation(key, current)
    assert key.low.shape == (1, 1024, 9, 13)
    assert high.shape == (1, 256, 9, 13)
    assert logits.shape == (1, 19, 9, 13)
    assert torch.isfinite(logits).all()
    assert 0 <= deviation.item() <= 1


def multiply_adds(module: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of the convolutions that ``run`` applies."""
    counts: list[int] = []

    def count(convolution: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        counts.append(output[0, 0].numel() * convolution.weight.numel())

    hooks = [part.register_forward_hook(count) for part in module.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_sl_is_about_a_sixth_of_the_backbone(paper: SegmentationNetwork) -> None:
    """Section 4: the lower part takes about a sixth of the time; counted here in multiply-adds, which do not vary."""
    backbone, image = paper.get_submodule("tracks.backbone"), random_image(64, 128)
    assert isinstance(backbone, ResNet)
    low = multiply_adds(paper, lambda: backbone.low(image))
    whole = multiply_adds(paper, lambda: backbone.high(backbone.low(image)))
    assert 1 / 8 < low / whole < 1 / 5


def test_folding_takes_every_batch_norm_of_the_bottlenecks() -> None:
    torch.manual_seed(0)
    config = small_config(backbone="resnet50", split="layer3.2", output_stride=8, skip_channels=0)
    network = SegmentationNetwork(config)
    with torch.no_grad():
        network(random_image(batch=2))  # moves the running statistics away from zero and one
        before = network.eval()(random_image())
        after = prepare_for_inference(network)(random_image())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4 * before.abs().max().item())
