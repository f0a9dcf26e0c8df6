"""Ready networks: small ones with trained weights, part of the package, and what one must know to use a network.

They are those of the `embedded` profile, so they know the classes of its generated clips and nothing else. How they
were made and how good they are: vared/weights/README.md.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import nn

from vared.backbones import create_model
from vared.checkpoints import load_weights
from vared.data.class_names import read_classes
from vared.data.sampling import ClipSampling
from vared.layers import DynamicConfig

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "r2plus1d_18-embedded-s2"


@dataclass(frozen=True)
class Card:
    """What a network takes and gives, enough to build it and to show it a video.

    network: a name of `list_models`. classes: names in the order of its logits. num_frames and stride (both frames):
    the clips it takes, `crop_size` (pixels) their sides. dynamic: fields of DynamicConfig, None for a plain network.
    sha256: of the file of weights. metrics, provenance: how good it is on which clips, and how it was made.
    """

    name: str
    network: str
    classes: tuple[str, ...]
    num_frames: int
    stride: int
    crop_size: int
    width: float = 1.0
    dynamic: Mapping[str, object] | None = None
    sha256: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)

    @property
    def sampling(self) -> ClipSampling:
        """Which frames make a clip."""
        return ClipSampling(self.num_frames, self.stride)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a clip, 3 x T x S x S."""
        return 3, self.num_frames, self.crop_size, self.crop_size

    def build(self) -> nn.Module:
        """The network with fresh weights, in evaluation mode. Raises ValueError as `create_model` does."""
        return create_model(
            self.network, num_classes=len(self.classes), num_frames=self.num_frames, crop_size=self.crop_size,
            width=self.width, dynamic=DynamicConfig(**self.dynamic) if self.dynamic is not None else None,
        ).eval()  # fmt: skip

    def text(self) -> str:
        """The card as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


def list_ready() -> list[str]:
    """Names that `load_ready` knows."""
    return sorted(path.stem for path in WEIGHTS.glob("*.json"))


def read_card(name: str) -> Card:
    """The card of a ready network. Raises ValueError that lists the names when there is none of that name."""
    if name not in list_ready():
        raise ValueError(f"There is no ready network {name!r}; known are {', '.join(list_ready()) or 'none'}.")
    content = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    return Card(**content | {"classes": tuple(content["classes"])})


def load_ready(name: str = DEFAULT) -> tuple[nn.Module, Card]:
    """A ready network in evaluation mode, and its card.

    Raises ValueError for an unknown name, and for weights that are not those the card was written for.
    """
    card = read_card(name)
    weights = WEIGHTS / f"{name}.safetensors"
    if sha256(weights) != card.sha256:
        raise ValueError(f"{weights} is not the file that {name}.json describes: its sha256 differs. Install it again.")
    return load_weights(card.build(), weights), card


def own_card(
    weights: Path, network: str, classes: Path, *, frames: int, stride: int, crop_size: int, width: float,
    search_space: int | None,
) -> Card:  # fmt: skip
    """The card of a checkpoint of one's own; `classes` is a file with a class name a line, in the order of the logits.

    search_space: that of a dynamic network with the other settings of `default_config`, None for a plain one.
    Raises FileNotFoundError without a file, ValueError for an unknown network and settings that fit none.
    """
    from vared.backbones import default_config

    for path in (weights, classes):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist.")
    dynamic = None if search_space is None else asdict(default_config(network, search_space=search_space))
    return Card(weights.stem, network, read_classes(classes), frames, stride, crop_size, width, dynamic)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
