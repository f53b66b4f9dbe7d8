"""The assembled network: grids, reuse, what an untrained propagation does, and where gradients go."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from small_networks import random_image, small_config, small_network
from torch import Tensor, nn

from lowlat_seg_ros.fast.adaptive import CorrelationKernels, Fusion
from lowlat_seg_ros.fast.frames import LowFeatures
from lowlat_seg_ros.kernels.spatially_variant_convolution import spatially_variant_convolution
from lowlat_seg_ros.models.backbone import build_split_backbone
from lowlat_seg_ros.models.config import ConfigError
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

pytestmark = pytest.mark.numeric

BASE = ("tracks.", "classifier.")
PROPAGATION = ("kernel_predictor.", "adapt_net.", "fusion.")
DEVIATION = ("deviation_predictor.",)
BOTH_DEVIATIONS = pytest.mark.parametrize("deviation", ["convolution", "codes"])


def grid(height: int, width: int, stride: int) -> tuple[int, int]:
    return math.ceil(height / stride), math.ceil(width / stride)


def propagated_logits(network: SegmentationNetwork, key_image: Tensor, image: Tensor) -> Tensor:
    key, current = network.low_features(key_image), network.low_features(image)
    return network.classify(network.propagate(network.high_features(key_image, key.low), key, current).high)


@pytest.mark.parametrize("kind", ["shared_backbone", "two_networks"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (353, 287), (33, 41), (8, 8), (1, 9)])
def test_every_feature_lies_on_the_grid_of_the_stride(height: int, width: int, kind: str) -> None:
    network = small_network(kind=kind)
    image = random_image(height, width, batch=2)
    with torch.no_grad():
        key = network.low_features(image)
        high = network.high_features(image, key.low)
        propagated = network.propagate(high, key, key).high
        logits = network(image)
        fast_logits = network.forward_fast(image)
    expected = grid(height, width, network.stride)
    assert [feature.shape[-2:] for feature in (*key, high, propagated, logits, fast_logits)] == [expected] * 7
    assert key.low.shape[:2] == (2, network.tracks.low_channels)
    assert high.shape == propagated.shape == (2, network.config.high_channels, *expected)
    assert logits.shape[:2] == fast_logits.shape[:2] == (2, len(network.config.classes))


def test_subpixels_make_the_logits_finer_and_put_each_where_it_belongs() -> None:
    network = small_network(subpixels=2)
    with torch.no_grad():
        logits = network(random_image(64, 96))
        assert logits.shape == (1, network.config.class_count, 16, 24)
        # The convolution's first four channels are the first class: above left, above right, below left, below right.
        high = torch.rand(1, network.config.high_channels, 3, 5)
        convolved = network.get_submodule("classifier.0")(high)
        shuffled = network.classify(high)
    for corner, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        torch.testing.assert_close(shuffled[0, 0, row::2, column::2], convolved[0, corner])


def test_sl_of_two_networks_is_a_network_of_its_own() -> None:
    """The large network never sees Sl's feature, nor the small one the slow track."""
    network = small_network(kind="two_networks")
    image = random_image()
    with torch.no_grad():
        low = network.low_features(image).low
        assert torch.equal(network.high_features(image, low), network.high_features(image, torch.zeros_like(low)))
        assert torch.equal(network.forward_fast(image), network.classify_low(low))


def test_only_the_large_networks_first_blocks_keep_their_imagenet_weights() -> None:
    network = small_network(kind="two_networks")
    parts = [*network.tracks.learning_parts(), *network.tracks.low_parts()]
    learning = {id(p) for part in parts for p in part.parameters()}
    frozen = {name for name, p in network.tracks.named_parameters() if id(p) not in learning}
    start = "high_network.backbone."
    assert frozen == {
        name
        for name, _ in network.tracks.named_parameters()
        if name.startswith((f"{start}conv_stem.", f"{start}bn0.", *(f"{start}blocks.{i}." for i in range(3))))
    }


def test_sl_may_do_without_its_backbones_last_stage() -> None:
    """What is left of it is the whole one's first blocks, and the ladder begins a rung lower."""
    whole = small_network(kind="two_networks")
    shorter = small_network(kind="two_networks", low_backbone="efficientnet_lite0_to_stride_16")
    ladders = [network.tracks.get_submodule("low_network") for network in (whole, shorter)]
    blocks, fewer = (ladder.get_submodule("backbone").state_dict() for ladder in ladders)
    assert {name: tensor.shape for name, tensor in fewer.items()}.items() <= {
        name: tensor.shape for name, tensor in blocks.items()
    }.items()
    assert [ladder.rung_strides for ladder in ladders] == [[16, 8, 4], [8, 4]]
    with torch.no_grad():
        features = [network.low_features(random_image()).low for network in (whole, shorter)]
    assert features[0].shape == features[1].shape


def test_a_scale_that_leaves_no_ladder_is_refused() -> None:
    with pytest.raises(ConfigError, match="a scale of 0.25 puts stride 8 below 4 pixels; expected at least 0.5"):
        SegmentationNetwork(small_config("two_networks", low_scale=0.25))


@pytest.mark.parametrize(
    ("split", "stride", "channels"), [("blocks.0", 2, 16), ("blocks.2", 4, 24), ("blocks.4", 8, 40)]
)
def test_the_split_decides_the_grid_of_sl(split: str, stride: int, channels: int) -> None:
    backbone = build_split_backbone("efficientnet_lite0", split, 16)
    assert (backbone.low_stride, backbone.low_channels) == (stride, channels)
    with torch.no_grad():
        assert backbone.low(torch.zeros(1, 3, 129, 97)).shape == (1, channels, *grid(129, 97, stride))


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_the_output_stride_decides_the_grid_of_the_backbone(output_stride: int) -> None:
    backbone = build_split_backbone("efficientnet_lite0", "blocks.4", output_stride)
    assert backbone.high_stride == output_stride
    with torch.no_grad():
        high = backbone.high(backbone.low(torch.zeros(1, 3, 129, 97)))
    assert high.shape == (1, backbone.high_channels, *grid(129, 97, output_stride))


def test_the_parts_of_the_network_are_the_network() -> None:
    network, image = small_network(), random_image()
    with torch.no_grad():
        low = network.low_features(image).low
        torch.testing.assert_close(network.classify(network.high_features(image, low)), network(image))


def test_a_key_frame_is_reduced_once() -> None:
    """A key frame's F_l goes through the reducing convolutions once, not again with every frame that follows."""
    network = small_network()
    reducing = [network.kernel_predictor.reduce, network.deviation_predictor.reduce]
    reduced: list[nn.Module] = []
    for convolution in reducing:
        convolution.register_forward_hook(lambda module, *_: reduced.append(module))
    with torch.no_grad():
        key, current = network.low_features(random_image(seed=1)), network.low_features(random_image(seed=2))
        assert reduced == reducing * 2
        network.propagate(network.high_features(random_image(seed=1), key.low), key, current)
        network.predicted_deviation(key, current)
    assert len(reduced) == 4


def test_untrained_propagation_is_close_to_copying() -> None:
    network = small_network(kernel_size=9)
    with torch.no_grad():
        key, current = network.low_features(random_image(seed=1)), network.low_features(random_image(seed=2))
        kernels = network.kernel_predictor(key.kernel_guidance, current.kernel_guidance)
        centre = kernels[:, 81 // 2]
        assert centre.min() > 0.5
        assert kernels.sum(dim=1).sub(centre).max() < 0.5
        smooth = nn.functional.interpolate(torch.rand(1, 12, 2, 3), kernels.shape[-2:], mode="bilinear") + 1
        propagated = spatially_variant_convolution(smooth, kernels)
    inner = (..., slice(4, -4), slice(4, -4))  # nearer to the border the kernels reach into the zeros outside
    # What a kernel takes from elsewhere differs from what is here by the picture's range at most.
    elsewhere = (1 - centre[:, None]) * (smooth.max() - smooth.min())
    assert ((propagated - smooth).abs() <= elsewhere + 1e-5)[inner].all()


def test_untrained_gated_fusion_passes_the_propagated_feature_on() -> None:
    network = small_network(fusion="gated")
    image, key_image = random_image(seed=1), random_image(seed=2)
    with torch.no_grad():
        key, current = network.low_features(key_image), network.low_features(image)
        key_high = network.high_features(key_image, key.low)
        kernels = network.kernel_predictor(key.kernel_guidance, current.kernel_guidance)
        expected = spatially_variant_convolution(key_high, kernels)
        assert expected.max() > 0
        torch.testing.assert_close(network.propagate(key_high, key, current).high, expected)


def test_a_gate_is_shut_where_the_key_frame_explains_the_current_one() -> None:
    """Whatever was learnt: a frame that has not changed keeps what Sh found."""
    network = small_network(fusion="gated")
    nn.init.normal_(network.get_parameter("fusion.combine.weight"))
    with torch.no_grad():
        frame, other = network.low_features(random_image(seed=1)), network.low_features(random_image(seed=2))
        high = network.high_features(random_image(seed=1), frame.low)
        explained, other_frame = (network.fuse(high, current, frame.kernel_guidance) for current in (frame, other))
        assert torch.equal(explained.high, high) and explained.doubt is not None and explained.doubt.max() == 0
        assert not torch.allclose(other_frame.high, high)
        assert other_frame.doubt is not None and 0 < other_frame.doubt.max() <= 1


def test_kernels_from_correlations_find_where_everything_went() -> None:
    """Untrained: a scene of noise that moves by whole elements is moved along, and one that stands still stays."""
    torch.manual_seed(0)
    predictor = CorrelationKernels(low_channels=12, channels=16, kernel_size=5).double()
    scene = torch.randn(1, 12, 14, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        key = predictor.guidance(scene)
        for rows, columns in ((0, 0), (1, -2), (-2, 1)):
            current = predictor.guidance(scene.roll((rows, columns), (2, 3)))
            kernels = predictor(key, current)
            moved = spatially_variant_convolution(scene, kernels)
            inner = (..., slice(4, -4), slice(4, -4))
            # What a kernel takes from elsewhere differs by the scene's range at most, and is a hundredth of it all.
            elsewhere = 1 - kernels[:, None, (rows + 2) * 5 + columns + 2]
            assert elsewhere[inner].max() < 0.01
            bound = elsewhere * (scene.max() - scene.min()) + 1e-12
            assert ((moved - scene.roll((rows, columns), (2, 3))).abs() <= bound)[inner].all()
            torch.testing.assert_close(kernels.sum(dim=1), torch.ones(1, 14, 18, dtype=torch.float64))


def test_propagation_moves_the_key_frame_and_adapts_the_current_one() -> None:
    """Figure 4, with weights that tell the two frames apart."""
    network = small_network(fusion="concatenate")
    nn.init.normal_(network.get_parameter("kernel_predictor.predict.weight"))
    with torch.no_grad():
        key, current = network.low_features(random_image(seed=1)), network.low_features(random_image(seed=2))
        key_high = network.high_features(random_image(seed=1), key.low)
        kernels = network.kernel_predictor(key.kernel_guidance, current.kernel_guidance)
        propagated = spatially_variant_convolution(key_high, kernels)
        torch.testing.assert_close(
            network.propagate(key_high, key, current).high, network.fusion(propagated, network.adapt_net(current.low))
        )
        exchanged = network.propagate(key_high, current, key)
        assert not torch.allclose(exchanged.high, network.propagate(key_high, key, current).high)
        assert exchanged.doubt is None


def test_fusion_takes_the_current_frame_into_account() -> None:
    fusion = Fusion(high_channels=4, adapt_channels=3)
    nn.init.normal_(fusion.combine.weight)
    propagated = torch.rand(1, 4, 5, 6)
    one, other = fusion(propagated, torch.rand(1, 3, 5, 6)), fusion(propagated, torch.rand(1, 3, 5, 6))
    assert one.shape == propagated.shape
    assert not torch.allclose(one, other)


@BOTH_DEVIATIONS
def test_deviation_is_a_fraction_for_each_picture_of_the_batch(deviation: str) -> None:
    network = small_network(deviation=deviation)
    nn.init.normal_(network.deviation_predictor.regress.weight, std=50)
    with torch.no_grad():
        key = network.low_features(random_image(batch=3, seed=1))
        current = network.low_features(random_image(batch=3, seed=2))
        together = network.predicted_deviation(key, current)
        alone = [
            network.predicted_deviation(
                *(LowFeatures(*(part[index : index + 1] for part in low)) for low in (key, current))
            )
            for index in range(3)
        ]
    assert together.shape == (3,)
    assert ((together >= 0) & (together <= 1)).all()
    torch.testing.assert_close(together, torch.cat(alone))


@BOTH_DEVIATIONS
def test_deviation_between_a_frame_and_itself_depends_on_no_picture(deviation: str) -> None:
    network = small_network(deviation=deviation)
    with torch.no_grad():
        frames = [network.low_features(random_image(seed=seed)) for seed in (1, 2)]
        same = [network.predicted_deviation(frame, frame) for frame in frames]
        assert torch.equal(same[0], same[1])
        assert not torch.equal(network.predicted_deviation(frames[0], frames[1]), same[0])


def test_the_network_keeps_nothing_of_a_frame() -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in network.named_modules()}
    first, second = random_image(seed=1), random_image(seed=2)
    with torch.no_grad():
        logits = propagated_logits(network, first, second)
        propagated_logits(network, second, first)
        network(first)
        assert torch.equal(propagated_logits(network, first, second), logits)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert {name: set(vars(module)) for name, module in network.named_modules()} == attributes


def names_with_gradient(network: nn.Module, loss: Tensor) -> set[str]:
    network.zero_grad(set_to_none=True)
    loss.backward()
    return {
        name for name, parameter in network.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }


def names_below(network: nn.Module, prefixes: Iterable[str]) -> set[str]:
    return {name for name, _ in network.named_parameters() if name.startswith(tuple(prefixes))}


def test_the_base_loss_reaches_the_base_network_alone() -> None:
    network = small_network()
    loss = network(random_image(batch=2)).square().mean()
    assert names_with_gradient(network, loss) == names_below(network, BASE)


def test_the_propagation_loss_reaches_all_of_the_propagation() -> None:
    """With the base network frozen, as in the paper's second stage."""
    network = small_network(fusion="concatenate")
    for name in ("tracks", "classifier"):
        network.get_submodule(name).requires_grad_(False)
    nn.init.normal_(network.get_parameter("kernel_predictor.predict.weight"), std=0.1)
    loss = propagated_logits(network, random_image(seed=1), random_image(seed=2)).square().mean()
    assert names_with_gradient(network, loss) == names_below(network, PROPAGATION)


@BOTH_DEVIATIONS
def test_the_deviation_loss_reaches_all_of_the_deviation_predictor(deviation: str) -> None:
    network = small_network(deviation=deviation)
    network.get_submodule("tracks").requires_grad_(False)
    key, current = network.low_features(random_image(seed=1)), network.low_features(random_image(seed=2))
    loss = network.predicted_deviation(key, current).square().mean()
    # What the reducing convolution adds to both frames cancels in their difference, so that its bias learns nothing.
    reached = names_with_gradient(network, loss) | {"deviation_predictor.reduce.bias"}
    assert reached == names_below(network, DEVIATION)


def test_sh_must_end_on_the_grid_of_sl() -> None:
    with pytest.raises(ConfigError, match="Sl ends at stride 8 and the backbone at 16; expected skip_channels above 0"):
        SegmentationNetwork(small_config(skip_channels=0, output_stride=16))
    assert SegmentationNetwork(small_config(skip_channels=0, output_stride=8)).stride == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "two_networks", "high_backbone": "resnet50"}, "backbone is 'resnet50'; expected one of efficientnet"),
        ({"backbone": "vgg16"}, "backbone is 'vgg16'; expected one of efficientnet_lite0, resnet101, resnet50"),
        ({"split": "blocks.15"}, "split is 'blocks.15'; expected a block from 'blocks.0' to 'blocks.14'"),
        ({"split": "blocks.²"}, "split is 'blocks.²'; expected a block from"),
        ({"split": "layer3.2"}, "split is 'layer3.2'"),
        ({"backbone": "resnet50"}, "split is 'blocks.4'; expected a block from 'layer1.0' to 'layer4.1'"),
    ],
)
def test_an_unknown_backbone_or_block_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        SegmentationNetwork(small_config(**changes))
