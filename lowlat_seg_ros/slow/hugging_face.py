"""Networks in the format of transformers: a directory, or the id of one on the Hugging Face hub.

Only safetensors are read and no code of the model's own is run. Pictures are prepared by torch on the network's device,
as the processor's file says; the processors themselves go through the CPU.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lowlat_seg_ros.data.documents import read_json
from lowlat_seg_ros.errors import Error, in_one_line
from lowlat_seg_ros.fast.pictures import Size
from lowlat_seg_ros.runtime.extras import import_extra
from lowlat_seg_ros.slow.description import Description
from lowlat_seg_ros.slow.foreign import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SMALLEST_PROBABILITY,
    ForeignNetwork,
    Source,
    check_weights,
    checked,
)

logger = logging.getLogger(__name__)

EXTRA = "hugging_face"
CONFIG_FILE, PROCESSOR_FILE = "config.json", "preprocessor_config.json"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# What is fetched of a model on the hub: no pickles, no code. The last three are OneFormer's tokenizer.
FETCHED = (
    "config.json",
    PROCESSOR_FILE,
    "model-*.safetensors",
    *SAFETENSORS,
    "*token*.json",
    "vocab.json",
    "merges.txt",
)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TASK = "the task is semantic"  # what OneFormer is told
RESAMPLE = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers; 1 is Lanczos
LARGEST_JSON = 4 * 1024**2  # bytes

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 2}
_TO_ONE = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # bytes become -1 to 1
_SHORT_SIDE_800 = _IMAGENET | {"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 32}
# What transformers' processors take where their file is silent, by the name without its ending (transformers 5.20).
PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "Beit": _TO_ONE | {"resample": 3, "size": {"height": 224, "width": 224}},
    "DPT": _TO_ONE | {"resample": 3, "size": {"height": 384, "width": 384}},
    "Eomt": _IMAGENET | {"size": {"shortest_edge": 640, "longest_edge": 640}},
    "Mask2Former": _SHORT_SIDE_800,
    "MaskFormer": _SHORT_SIDE_800,
    "MobileNetV2": _TO_ONE
    | {
        "resample": 2,
        "size": {"shortest_edge": 256},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    },
    "MobileViT": {
        "do_normalize": False,
        "do_flip_channel_order": True,
        "resample": 3,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 256, "width": 256},
    },
    "OneFormer": _IMAGENET | {"size": {"shortest_edge": 800, "longest_edge": 1333}},
    "Segformer": _IMAGENET | {"size": {"height": 512, "width": 512}},
    "ViT": _TO_ONE | {"resample": 2, "size": {"height": 224, "width": 224}},
}
_PROCESSOR_NAME = re.compile(r"(\w+?)(?:ImageProcessor|FeatureExtractor)\w*")
# Whose processor a network's directory means that names none, where that is not its own.
_PROCESSOR_OF_NETWORK = {"data2vec-vision": "Beit", "mobilevitv2": "MobileViT", "mobilenet_v2": "MobileNetV2"}

# Transformers folds their patches back into a square whatever the picture's shape was. Another shape fails, or, where
# its patches happen to fill a square, as those of 16:9 may, its labels are scrambled and nobody is told.
_OF_SQUARES = ("beit", "data2vec-vision", "dpt", "eomt", "eomt_dinov3", "videomt")


class HuggingFaceError(Error):
    """A model that cannot be loaded; the message says what was wrong and what was expected."""


def recognises(model: str) -> bool:
    """Whether it is a directory with a config of theirs, or looks like a hub id and is no path."""
    return (Path(model) / CONFIG_FILE).is_file() or (not Path(model).exists() and is_hub_id(model))


def is_hub_id(model: str) -> bool:
    return HUB_ID.fullmatch(model) is not None


def load(model: str, device: torch.device | str, description: Description | None = None) -> ForeignNetwork:
    """The network of a directory or hub id, on ``device``.

    Raises:
        Error: there is none, it is no segmentation network, or its parts do not fit each other.
    """
    description = description or Description()
    transformers = import_extra("transformers", EXTRA, f"the model {model!r}")
    folder = Path(model) if Path(model).is_dir() else fetch(model)
    config = _read_json(folder / CONFIG_FILE)
    classes = description.classes or class_names(config, model)
    network = load_network(transformers, folder, config, model).to(device)
    check_weights(network, model)
    source = Source(
        classes, _runner(transformers, network, folder, model, device), **_preprocessing(folder, config, description)
    )
    return checked(ForeignNetwork(source, description, model), model, device)


def fetch(hub_id: str) -> Path:
    """The folder in which the hub's client keeps what it has fetched of a model, now or earlier."""
    hub = import_extra("huggingface_hub", EXTRA, f"the model {hub_id!r}")
    try:
        return Path(hub.snapshot_download(hub_id, allow_patterns=list(FETCHED)))
    except Exception as error:  # the client's own kinds, and its HTTP library's
        raise HuggingFaceError(
            f"{hub_id!r} is no directory here, and as a hub id it could not be fetched: {in_one_line(error)}"
        ) from error


def load_network(transformers: Any, folder: Path, config: Mapping[str, Any], model: str) -> Any:
    """Their network in evaluation mode, float32, on the CPU."""
    loader = _auto_class(transformers, config, model)
    if config.get("use_pretrained_backbone"):
        raise HuggingFaceError(
            f"{model} would fetch the weights of another model (use_pretrained_backbone in {CONFIG_FILE}) to write its "
            "own over them; set that to false"
        )
    _check_weights_are_safetensors(folder, model)
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # its table of weights that do not fit becomes a sentence of ours
    try:
        network, found = loader.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a stranger's files make another library raise
        if "ignore_mismatched_sizes" in str(error):
            raise HuggingFaceError(f"{model} has weights of other shapes than {CONFIG_FILE} describes") from error
        raise HuggingFaceError(f"{model} cannot be loaded: {in_one_line(error)}") from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        raise HuggingFaceError(
            f"{model} lacks {len(missing)} weights of a {type(network).__name__}, such as {missing[0]}; "
            "expected a network trained for segmentation, with its head"
        )
    return network.eval().requires_grad_(False)


def _auto_class(transformers: Any, config: Mapping[str, Any], model: str) -> Any:
    """The class that loads a network of that architecture."""
    kind = str(config.get("model_type"))
    mappings = import_extra("transformers.models.auto.modeling_auto", EXTRA, f"the model {model!r}")
    # Some architectures are in both lists; the semantic ones need no queries.
    if kind in mappings.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES:
        return transformers.AutoModelForSemanticSegmentation
    if kind in mappings.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES and kind != "detr":  # its masks are others
        return transformers.AutoModelForUniversalSegmentation
    if kind == "maskformer":
        return transformers.MaskFormerForInstanceSegmentation
    raise HuggingFaceError(
        f"{model} is of the architecture {kind[:80]!r}, for which transformers {transformers.__version__} has no "
        "semantic or universal segmentation; expected one such as segformer, upernet, dpt, beit, mask2former or eomt"
    )


def _check_weights_are_safetensors(folder: Path, model: str) -> None:
    if any((folder / name).is_file() for name in SAFETENSORS):
        return
    if not any((folder / name).is_file() for name in PICKLED):
        raise HuggingFaceError(f"{model} has no {SAFETENSORS[0]}; expected the weights beside {CONFIG_FILE}")
    raise HuggingFaceError(
        f"{model} has its weights as {PICKLED[0]} only, a pickle, which could run any code and is not loaded; if you "
        'trust it, convert it: python -c "import torch; from safetensors.torch import save_file; save_file({name: '
        "tensor.clone().contiguous() for name, tensor in torch.load('pytorch_model.bin', weights_only=True).items()}, "
        "'model.safetensors', {'format': 'pt'})\""
    )


def class_names(config: Mapping[str, Any], model: str) -> tuple[str, ...]:
    """By channel, of ``id2label``; transformers' own LABEL_0, LABEL_1 are no names."""
    names = config.get("id2label")
    if not isinstance(names, Mapping) or not names:
        raise HuggingFaceError(f"{model} names no classes; expected id2label in {CONFIG_FILE}, or classes in a YAML")
    by_id = {str(number): str(name).strip() for number, name in names.items()}
    if set(by_id) != set(map(str, range(len(by_id)))):
        raise HuggingFaceError(f"id2label of {model} has not the ids 0 to {len(by_id) - 1}, each once")
    if all(name == f"LABEL_{number}" for number, name in by_id.items()):
        raise HuggingFaceError(
            f"{model} has classes without names (LABEL_0, …); expected id2label in {CONFIG_FILE}, or classes in a YAML"
        )
    return tuple(by_id[str(number)] for number in range(len(by_id)))


# --- The network's answer --------------------------------------------------------------------------------------------


def _runner(
    transformers: Any, network: Any, folder: Path, model: str, device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """From normalised pixels to logits."""
    inputs: dict[str, Tensor] = {}
    if network.config.model_type == "oneformer":
        inputs["task_inputs"] = _task_tokens(transformers, network, folder, model).to(device)

    of_squares = takes_squares(network.config.to_dict())

    def run(pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if of_squares and height != width:
            raise HuggingFaceError(
                f"{model} takes square pictures only, not {width}x{height}; expected an input_size of two equal sides"
            )
        found = network(pixel_values=pixels, **inputs)
        if "class_queries_logits" in found:
            return logits_of_queries(found.class_queries_logits, found.masks_queries_logits)
        logits: Tensor = found.logits
        return logits

    return run


def takes_squares(config: Mapping[str, Any]) -> bool:
    """Whether a network of that description folds patches back into a square; a DPT on a backbone knows their shape."""
    knows_shape = config.get("backbone_config") is not None and not config.get("is_hybrid")
    return config.get("model_type") in _OF_SQUARES and not (config["model_type"] == "dpt" and knows_shape)


def logits_of_queries(classes: Tensor, masks: Tensor) -> Tensor:
    """Logits (1, classes, h, w) of what queries say: each a class and where it is.

    The score of a class at a place is the sum over queries of its probability times the mask's there; over all classes,
    void left out, the scores are made to sum to one. Source: Cheng et al., "Per-Pixel Classification is Not All You
    Need for Semantic Segmentation" (MaskFormer), NeurIPS 2021, section 3.4.

    Args:
        classes: (1, queries, classes + 1), logits, the last one void's.
        masks: (1, queries, h, w), logits.
    """
    logarithms = functional.logsigmoid(masks.float())
    # By the place's surest mask, so that where all are next to nothing their ratios are not rounded away.
    relative = (logarithms - logarithms.amax(dim=1, keepdim=True)).exp_()
    scores = torch.einsum("bqc,bqhw->bchw", classes.float().softmax(dim=-1)[..., :-1], relative)
    shares = scores / scores.sum(dim=1, keepdim=True).clamp_min(SMALLEST_PROBABILITY)
    return shares.clamp_min(SMALLEST_PROBABILITY).log()


def _task_tokens(transformers: Any, network: Any, folder: Path, model: str) -> Tensor:
    """What OneFormer's processor makes of ``TASK``: (1, length)."""
    length = network.config.task_seq_len
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found = tokenizer([TASK], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    except Exception as error:
        raise HuggingFaceError(f"the tokenizer of {model} cannot be loaded: {in_one_line(error)}") from error
    tokens: Tensor = found["input_ids"] * found["attention_mask"]
    return tokens


# --- The picture that it takes ---------------------------------------------------------------------------------------


def _preprocessing(folder: Path, config: Mapping[str, Any], description: Description) -> dict[str, Any]:
    """``Source``'s fields, by the processor's file and, before it, the user's description."""
    said: Mapping[str, Any] = {}
    if (folder / PROCESSOR_FILE).is_file():
        said = _with_defaults(_read_json(folder / PROCESSOR_FILE), config, folder)
    else:
        logger.warning("%s has no %s: the whole picture, ImageNet's mean and std", folder.name, PROCESSOR_FILE)
    try:
        mean, std = _mean_and_std(said)
        multiple = int(said.get("size_divisor") or said.get("ensure_multiple_of") or 1)
        return {
            "mean": description.mean or mean,
            "std": description.std or std,
            "is_bgr": description.channels == "bgr"
            if description.channels
            else bool(said.get("do_flip_channel_order")),
            "resample": RESAMPLE[2 if said.get("resample") is None else said["resample"]],
            "input_size": input_size_of(said, config),
            "multiple": max(1, multiple),
        }
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HuggingFaceError(f"{folder / PROCESSOR_FILE} is not understood: {in_one_line(error)}") from error


def _with_defaults(said: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """A processor's file, and what its kind takes where the file says nothing."""
    named = _PROCESSOR_NAME.match(str(said.get("image_processor_type") or said.get("feature_extractor_type") or ""))
    kind = str(config.get("model_type"))
    name = named[1] if named else _PROCESSOR_OF_NETWORK.get(kind, kind)
    known = next((known for known in PROCESSORS if known.lower() == name.lower()), None)
    wanted = [
        *(("image_mean", "image_std") if said.get("do_normalize", True) else ()),
        *(("size", "resample") if said.get("do_resize", True) else ()),
    ]
    silent = [key for key in wanted if key not in said]
    if known is None and silent:
        logger.warning(
            "%s does not say %s, and what the processor %r takes is not known: taken are ImageNet's mean and std, the "
            "whole picture, bilinear",
            folder / PROCESSOR_FILE,
            ", ".join(silent),
            name[:80],
        )
    return {**(PROCESSORS[known] if known else {}), **said}


def _mean_and_std(said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of 0 to 255: they multiply by the rescaling factor first."""
    factor = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
    if not said.get("do_normalize", True):
        return (0.0,) * 3, (1 / factor,) * 3
    mean, std = said.get("image_mean"), said.get("image_std")
    mean = IMAGENET_MEAN if mean is None else tuple(float(part) / factor for part in mean)
    std = IMAGENET_STD if std is None else tuple(float(part) / factor for part in std)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError("image_mean and image_std are not three numbers, the latter positive")
    return mean, std


def input_size_of(said: Mapping[str, Any], config: Mapping[str, Any]) -> Callable[[Size], Size]:
    """The size that a processor brings a picture to. What it would cut off or pad is squeezed in instead."""
    size = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
    if said.get("do_split_image") and isinstance(config.get("image_size"), int):
        size = config["image_size"]  # EoMT's windows: it takes one, the whole picture
    wanted = _size_of(size if said.get("do_resize", True) else None, said)
    return (lambda picture: (min(wanted(picture)),) * 2) if takes_squares(config) else wanted


def _size_of(size: Any, said: Mapping[str, Any]) -> Callable[[Size], Size]:
    if size is None:
        return lambda picture: picture
    if isinstance(size, int):  # as older files have it: with max_size the shorter side's, otherwise both sides'
        size = {"shortest_edge": size} if "max_size" in said else {"height": size, "width": size}
    if "height" in size and "width" in size:
        wanted = _side(size["width"]), _side(size["height"])
        if said.get("keep_aspect_ratio"):
            return lambda picture: _of_nearest_scale(picture, wanted)
        return lambda _: wanted
    shortest = _side(size["shortest_edge"])
    longest = size.get("longest_edge") or said.get("max_size")
    return lambda picture: _of_shortest_edge(picture, shortest, longest, int(said.get("size_divisor") or 1))


def _side(pixels: Any) -> int:
    if not isinstance(pixels, int) or not 1 <= pixels <= 8192:
        raise ValueError(f"a side of {pixels!r} pixels")
    return pixels


def _of_nearest_scale(picture: Size, wanted: Size) -> Size:
    """Both sides by the factor of the side that changes less (DPT's way)."""
    factors = [new / old for new, old in zip(wanted, picture, strict=True)]
    factor = min(factors, key=lambda factor: abs(1 - factor))
    return round(factor * picture[0]), round(factor * picture[1])


def _of_shortest_edge(picture: Size, shortest: int, longest: int | None, divisor: int) -> Size:
    factor = shortest / min(picture)
    if longest:
        factor = min(factor, longest / max(picture))
    width, height = (math.ceil(round(factor * pixels) / divisor) * divisor for pixels in picture)
    return width, height


def _read_json(path: Path) -> Mapping[str, Any]:
    mapping = read_json(path, LARGEST_JSON)
    if not isinstance(mapping, Mapping):
        raise HuggingFaceError(f"{path} holds no JSON mapping")
    return mapping
