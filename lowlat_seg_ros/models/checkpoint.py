"""Networks on disk: a directory with the weights, the model's description and its model card.

The weights are safetensors and the description is YAML, so that reading a checkpoint runs no code from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import yaml
from safetensors import safe_open
from torch import Tensor

from lowlat_seg_ros.data.atomic_write import atomic_write
from lowlat_seg_ros.data.documents import MOST_BYTES, parse_json
from lowlat_seg_ros.errors import Error, shown, turning_all_into
from lowlat_seg_ros.models.calibration import CALIBRATION_FILE, read_calibration
from lowlat_seg_ros.models.comparisons import Comparisons
from lowlat_seg_ros.models.config import ConfigError, ModelConfig, load_config
from lowlat_seg_ros.models.inference import prepare_for_inference
from lowlat_seg_ros.models.segmentation_network import SegmentationNetwork

WEIGHTS_FILE = "weights.safetensors"
COMPARISONS_FILE = "comparisons.safetensors"  # what the paper's tables compare with; most checkpoints have none
CONFIG_FILE = "model.yaml"
CARD_FILE = "MODEL_CARD.md"
SHIPPED_MODELS = Path(__file__).parent

FORMAT = {"format": "lowlat_seg_ros checkpoint", "version": "1"}
# What a user may change in model.yaml without making the weights mean something else.
CHANGEABLE_FIELDS = ("classes", "colours", "input_size", "carrying")
# BatchNorm counts its training batches here; its fixed momentum never reads the count, so it is not stored.
COUNTER_SUFFIX = "num_batches_tracked"
COMPARISONS_PREFIX = "comparisons."


class CheckpointError(Error):
    """A checkpoint that cannot be used; the message says what was wrong and what was expected."""


def save_checkpoint(network: SegmentationNetwork, directory: str | Path, model_card: str) -> None:
    """Write ``weights.safetensors``, ``model.yaml`` and ``MODEL_CARD.md`` into ``directory``, made if it is missing.

    Storing loses precision: the weights of convolutions and linear layers are rounded to float16 (11 significant
    bits). Biases and all of BatchNorm stay float32, because its variances span more than float16's range. A file is
    replaced whole or not at all, the weights last.

    Args:
        network: with its BatchNorm, that is, not yet prepared for inference.
        directory: where an older checkpoint may stand.
        model_card: Markdown that says what the weights were trained on and what they reach.

    Raises:
        CheckpointError: a weight is not finite in float16, or the network is not the one its config describes.
        OSError: the directory cannot be written.
    """
    tensors = {name: stored(tensor) for name, tensor in weights_of(network).items()}
    _check_tensors_fit(
        tensors,
        _shapes_of(_without_memory(network.config)),
        network.config.name,
        f"the network {network.config.name!r}",
    )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    description = yaml.safe_dump(network.config.to_mapping(), sort_keys=False)
    metadata = {**FORMAT, "model": _weight_defining_json(network.config)}
    atomic_write(directory / CARD_FILE, model_card.encode())
    atomic_write(directory / CONFIG_FILE, description.encode())
    for older in (COMPARISONS_FILE, CALIBRATION_FILE):  # of a checkpoint whose weights are gone
        (directory / older).unlink(missing_ok=True)
    atomic_write(directory / WEIGHTS_FILE, safetensors.torch.save(tensors, metadata))
    if network.comparisons is not None:
        compared = {name: stored(tensor) for name, tensor in network.comparisons.state_dict().items()}
        atomic_write(directory / COMPARISONS_FILE, safetensors.torch.save(compared, metadata))


def load_checkpoint(path_or_name: str | Path, device: str | torch.device = "cpu") -> SegmentationNetwork:
    """The stored network, ready for inference: BatchNorm folded, eval mode, no gradients, channels last, float32.

    Args:
        path_or_name: a checkpoint's directory, its weights file, or the name of a shipped model (``"default"``).
        device: where the network is put.

    Raises:
        CheckpointError: there is no checkpoint there, or its files are damaged, foreign or do not fit each other.
    """
    network = prepare_for_inference(load_trainable(path_or_name, device))
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise CheckpointError(f"{path_or_name} has weights that overflow once BatchNorm is folded into {name}")
    return network


def load_trainable(path_or_name: str | Path, device: str | torch.device = "cpu") -> SegmentationNetwork:
    """The stored network as it was built: with its BatchNorm, in training mode, with gradients, float32.

    Takes and raises what ``load_checkpoint`` does.
    """
    directory, weights_file = locate(path_or_name)
    config = _read_config(directory)
    network = _without_memory(config)
    tensors = _read_tensors(weights_file, config)
    _check_tensors_fit(tensors, _shapes_of(network), config.name, str(weights_file))
    counters = {name: torch.zeros((), dtype=torch.long) for name in network.state_dict() if _is_counter(name)}
    network.load_state_dict({**tensors, **counters}, assign=True)
    network.comparisons = _read_comparisons(directory / COMPARISONS_FILE, network)
    with turning_all_into(CheckpointError, "no calibration for int8"):
        network.calibration = read_calibration(directory, weights_file)
    return network.to(device)


def locate(path_or_name: str | Path) -> tuple[Path, Path]:
    """The directory and the weights file of a checkpoint; a shipped model's bare name goes before a path."""
    shipped = shipped_models()
    path = SHIPPED_MODELS / path_or_name if path_or_name in shipped else Path(path_or_name)
    if path.is_file():
        return path.parent, path
    if not path.is_dir():
        raise CheckpointError(
            f"there is no checkpoint at {str(path_or_name)!r}; expected a directory with {WEIGHTS_FILE} and "
            f"{CONFIG_FILE}, that weights file, or a shipped model ({', '.join(shipped) or 'none is installed'})"
        )
    if not (path / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"{path} has no {WEIGHTS_FILE}; expected a checkpoint's directory")
    return path, path / WEIGHTS_FILE


def shipped_models() -> list[str]:
    """Names of the checkpoints that are installed with the package."""
    return sorted(weights.parent.name for weights in SHIPPED_MODELS.glob(f"*/{WEIGHTS_FILE}"))


def weights_of(network: SegmentationNetwork) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds, by their state-dict names."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not _is_counter(name) and not name.startswith(COMPARISONS_PREFIX)
    }


def stored(tensor: Tensor) -> Tensor:
    """The tensor as it is written: two or more dimensions (what convolutions and linear layers weigh) in float16."""
    dtype = torch.float16 if tensor.dim() > 1 else torch.float32
    return tensor.detach().to(device="cpu", dtype=dtype).contiguous()


def _read_config(directory: Path) -> ModelConfig:
    if not (directory / CONFIG_FILE).is_file():
        raise CheckpointError(f"{directory} has no {CONFIG_FILE}; expected the model's description beside its weights")
    try:
        return load_config(directory / CONFIG_FILE)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _read_comparisons(path: Path, network: SegmentationNetwork) -> Comparisons | None:
    """None where the checkpoint has none."""
    if not path.is_file():
        return None
    comparisons = Comparisons(network.config, network.tracks.low_channels)
    tensors = _read_tensors(path, network.config)
    shapes = {name: tensor.shape for name, tensor in comparisons.state_dict().items()}
    _check_tensors_fit(tensors, shapes, network.config.name, str(path))
    comparisons.load_state_dict(tensors)
    return comparisons


def _read_tensors(path: Path, config: ModelConfig) -> dict[str, Tensor]:
    what = f"{path} is no whole safetensors file"
    with turning_all_into(CheckpointError, what), safe_open(path, framework="pt") as file:
        _check_metadata(file.metadata() or {}, config, path)
        # Copied, because a tensor of the open file changes when somebody writes over the file.
        return {name: file.get_tensor(name).to(torch.float32, copy=True) for name in file.keys()}  # noqa: SIM118


def _check_metadata(metadata: Mapping[str, str], config: ModelConfig, path: Path) -> None:
    found = {key: metadata.get(key) for key in FORMAT}
    if found != FORMAT:
        raise CheckpointError(
            f"{path} holds {found['format'] or 'an unnamed format'}, version {found['version'] or 'unknown'}; "
            f"expected {FORMAT['format']}, version {FORMAT['version']}"
        )
    saved, described = _json_mapping(metadata.get("model", ""), path), json.loads(_weight_defining_json(config))
    differing = [name for name in described if saved.get(name) != described[name]]
    if differing:
        name = differing[0]
        was, says = shown(saved.get(name), 300), shown(described[name], 300)
        raise CheckpointError(
            f"{path} was saved with {name} {was}, but its {CONFIG_FILE} says {says}; "
            "expected the description that the weights were trained with"
        )


def _json_mapping(text: str, path: Path) -> Mapping[str, object]:
    parsed = parse_json(text, f"the entry model of {path}", MOST_BYTES) if text else {}
    return parsed if isinstance(parsed, Mapping) else {}


def _weight_defining_json(config: ModelConfig) -> str:
    """The fields that decide what the weights compute; several of them leave no trace in the tensors' shapes."""
    mapping = config.to_mapping()
    return json.dumps({name: value for name, value in mapping.items() if name not in CHANGEABLE_FIELDS})


def _shapes_of(network: SegmentationNetwork) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights_of(network).items()}


def _check_tensors_fit(
    tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size], model: str, source: str
) -> None:
    """Names, shapes and finite values, checked before any memory is taken for the network."""
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing:
        raise CheckpointError(f"{source} lacks {_first_of(missing)}; expected the weights of model {model!r}")
    if unexpected:
        raise CheckpointError(
            f"{source} has {_first_of(unexpected)} too much; expected only the weights of model {model!r}"
        )
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"{source} has {name} of shape {tuple(tensor.shape)}; expected {tuple(expected[name])}"
            )
        # One NaN or infinity makes the whole sum so; in float64 finite weights cannot overflow.
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise CheckpointError(f"{source} has NaN or infinity in {name}; expected finite weights within float16")


def _without_memory(config: ModelConfig) -> SegmentationNetwork:
    """The config's network with shapes but no weights, so that a damaged config cannot exhaust the memory."""
    with turning_all_into(CheckpointError, "no network can be built as described"), torch.device("meta"):
        return SegmentationNetwork(config)


def _is_counter(name: str) -> bool:
    return name.endswith(COUNTER_SUFFIX)


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors"
