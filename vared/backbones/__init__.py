"""Video networks by name. One file a network: its builder, and which of its convolutions the thesis makes dynamic."""

from importlib import import_module
from types import ModuleType

from torch import nn

from vared.conversion import convert
from vared.layers import DynamicConfig
from vared.selection import Where

# Name -> file and the arguments that choose a network in it. Files are imported when a network of theirs is asked for:
# building one does not load the libraries behind the others.
_NETWORKS = {
    "i3d": ("i3d", {}),
    "r2plus1d_18": ("r2plus1d", {}),
    "r2plus1d_18_corrnet": ("corrnet", {}),
    "r2plus1d_18_tpn": ("tpn", {}),
    "tsn_mobilenetv2": ("tsn", {"backbone": "mobilenetv2"}),
    "tsn_resnet18": ("tsn", {"backbone": "resnet18"}),
    "tsn_resnet34": ("tsn", {"backbone": "resnet34"}),
    "tsn_resnet50": ("tsn", {"backbone": "resnet50"}),
    "x3d_m": ("x3d", {}),
}


def list_models() -> list[str]:
    """Names that `create_model` knows."""
    return sorted(_NETWORKS)


def default_config(name: str, **changes) -> DynamicConfig:
    """How network `name` is made dynamic unless told otherwise; `changes` are fields of DynamicConfig.

    Raises ValueError for an unknown name, TypeError for an unknown field.
    """
    file, _ = _find(name)
    return DynamicConfig(**{**getattr(file, "DEFAULTS", {}), **changes})


def dynamic_choice(name: str) -> Where:
    """Which convolutions of network `name` the thesis makes dynamic, as a function of a layer's name and the layer.

    Raises ValueError for an unknown name.
    """
    return _find(name)[0].is_dynamic


def create_model(
    name: str, *, num_classes: int, num_frames: int, crop_size: int, width: float = 1.0,
    dynamic: DynamicConfig | bool | None = None, where: Where | None = None,
) -> nn.Module:  # fmt: skip
    """Network `name` for clips B x 3 x num_frames x crop_size x crop_size, with logits B x num_classes.

    `width` multiplies every channel count. With `dynamic` the layers that the thesis makes dynamic, or those that
    `where(name, conv)` selects, are converted, by the given settings or, for True, by those of `default_config`.
    Build under `torch.device("meta")` to count a full-size network without its memory.
    Raises ValueError for an unknown name, a size below 1, or `where` without `dynamic`.
    """
    file, choice = _find(name)
    if where is not None and not dynamic:
        raise ValueError("`where` selects layers to make dynamic: give `dynamic` too.")
    for what, value in (("num_classes", num_classes), ("num_frames", num_frames), ("crop_size", crop_size)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{what} must be a whole number of at least 1, not {value}.")
    if width <= 0:
        raise ValueError(f"width must be positive, not {width}.")
    model = file.build(num_classes=num_classes, width=width, **choice)
    if dynamic:
        config = default_config(name) if dynamic is True else dynamic
        convert(model, config, example=(3, num_frames, crop_size, crop_size), where=where or file.is_dynamic)
    return model


def _find(name: str) -> tuple[ModuleType, dict[str, str]]:
    if name not in _NETWORKS:
        raise ValueError(f"There is no network {name!r}; known are {list_models()}.")
    file, choice = _NETWORKS[name]
    return import_module(f"vared.backbones.{file}"), choice
