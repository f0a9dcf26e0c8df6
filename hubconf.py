"""Entry points of `torch.hub`: every network of `vared.list_models()` by its name, and those with trained weights.

model = torch.hub.load("path/to/the/repository", "r2plus1d_18", source="local",
                       num_classes=200, num_frames=16, crop_size=128, dynamic=True)
model, card = torch.hub.load("path/to/the/repository", "vared_ready", "r2plus1d_18-embedded-s2", source="local")
"""

from vared import create_model as _create_model
from vared import list_models as _list_models
from vared import load_ready as _load_ready

dependencies = ["torch", "torchvision", "timm", "pytorchvideo", "safetensors"]


def vared_ready(name: str = "r2plus1d_18-embedded-s2"):
    """A ready network of `vared.list_ready()` with trained weights, and its card. Knows generated classes only."""
    return _load_ready(name)


def _entry_point(name: str):
    def build(*, num_classes: int, num_frames: int, crop_size: int, width: float = 1.0, dynamic=None, where=None):
        return _create_model(
            name, num_classes=num_classes, num_frames=num_frames, crop_size=crop_size, width=width, dynamic=dynamic,
            where=where,
        )  # fmt: skip

    build.__name__ = name
    build.__doc__ = f"Network {name!r} without trained weights; arguments are those of vared.create_model."
    return build


globals().update({name: _entry_point(name) for name in _list_models()})
