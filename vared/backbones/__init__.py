"""Video networks by name. One file a network: its builder, and which of its convolutions the thesis makes dynamic."""

from torch import nn

from vared.backbones import r2plus1d
from vared.conversion import convert
from vared.layers import DynamicConfig

_BUILDERS = {"r2plus1d_18": r2plus1d}


def list_models() -> list[str]:
    """Names that `create_model` knows."""
    return sorted(_BUILDERS)


def create_model(
    name: str, *, num_classes: int, num_frames: int, crop_size: int, width: float = 1.0,
    dynamic: DynamicConfig | None = None,
) -> nn.Module:  # fmt: skip
    """Network `name` for clips B x 3 x num_frames x crop_size x crop_size, with logits B x num_classes.

    `width` multiplies every channel count. With `dynamic` the layers that the thesis makes dynamic are converted.
    Build under `torch.device("meta")` to count a full-size network without its memory.
    Raises ValueError for an unknown name or a size below 1.
    """
    if name not in _BUILDERS:
        raise ValueError(f"There is no network {name!r}; known are {list_models()}.")
    for what, value in (("num_classes", num_classes), ("num_frames", num_frames), ("crop_size", crop_size)):
        if value < 1:
            raise ValueError(f"{what} must be at least 1, not {value}.")
    if width <= 0:
        raise ValueError(f"width must be positive, not {width}.")
    network = _BUILDERS[name]
    model = network.build(num_classes=num_classes, width=width)
    if dynamic is not None:
        convert(model, dynamic, example=(3, num_frames, crop_size, crop_size), where=network.is_dynamic)
    return model
