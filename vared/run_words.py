"""Runs in plain words: what `s2_8f_seed0` means.

A run's word is [DATA-][BACKBONE-]NETWORK[_DIMENSION][_long]_FRAMESf_seedSEED. NETWORK is `static` (the plain network),
`sN` (dynamic, search space N), `single_frame` (the plain network shown one frame repeated: what can be told without
motion), or a method that the thesis compares with: `pruned`, `cgnet`, `arnet`. DATA is a set of the profile's
`data.further` in params.yaml, BACKBONE one of `BACKBONES`; a part before the first hyphen that is none of these is
DATA. Without DATA and BACKBONE they are those of the profile; with DIMENSION (`temporal`, `channel`) only that one is
dynamic; `long` trains for more epochs.
"""

import re
from dataclasses import dataclass

# The names of vared.backbones.list_models(), spelled out because importing that loads torch.
BACKBONES = (
    "i3d", "r2plus1d_18", "r2plus1d_18_corrnet", "r2plus1d_18_tpn", "tsn_mobilenetv2", "tsn_resnet18", "tsn_resnet34",
    "tsn_resnet50", "x3d_m",
)  # fmt: skip
_BACKBONE = f"(?:{'|'.join(BACKBONES)})-"
WORD = re.compile(
    rf"(?:(?P<data>(?!{_BACKBONE})[a-z]\w*)-)?(?:(?P<backbone>{_BACKBONE[:-1]})-)?"
    r"(?P<network>static|single_frame|pruned|cgnet|arnet|s(?P<search_space>[1-9])(?:_(?P<dimension>temporal|channel))?)"
    r"(?P<long>_long)?_(?P<frames>[1-9]\d*)f_seed(?P<seed>\d+)",
    re.ASCII,
)
BASELINES = ("pruned", "cgnet", "arnet")


@dataclass(frozen=True)
class Run:
    """One trained network.

    network: "static", "dynamic", "single_frame", "pruned", "cgnet" or "arnet". search_space is None, and dimensions
    ("both", "temporal", "channel") is empty, for one that is not dynamic. data, backbone: empty for the profile's own.
    """

    word: str
    data: str
    backbone: str
    network: str
    search_space: int | None
    dimensions: str
    long: bool
    frames: int
    seed: int

    @property
    def plain(self) -> bool:
        """A static network that sees the video."""
        return self.network == "static"

    @property
    def compared_maps(self) -> bool:
        """Whether the redundancy of its maps is measured: plain networks of table B.1, and the profile's own."""
        return self.plain and self.backbone in ("", "r2plus1d_18", "i3d")

    @property
    def single_frame(self) -> bool:
        """Whether clips are one frame repeated."""
        return self.network == "single_frame"

    @property
    def group(self) -> str:
        """The word without its seed: runs of one group differ in the seed only."""
        return self.word.rsplit("_seed", 1)[0]

    def data_folder(self, profile: str) -> str:
        """Where the run's data set lies in the project; the folder holds clips/ and identity.json."""
        return f"data/{profile}/further/{self.data}" if self.data else f"data/{profile}"

    def with_frames(self, frames: int) -> str:
        """The word of the same run with clips of `frames` frames."""
        return self.word.replace(f"_{self.frames}f_", f"_{frames}f_")

    @property
    def static_partner(self) -> str:
        """The word of the plain network of the same backbone, data, length of training, frames and seed."""
        prefix = "".join(f"{part}-" for part in (self.data, self.backbone) if part)
        return f"{prefix}static{'_long' * self.long}_{self.frames}f_seed{self.seed}"


def parse_run(word: str) -> Run:
    """The run that `word` names. Raises ValueError that shows the form when it names none."""
    match = WORD.fullmatch(word)
    if not match:
        raise ValueError(
            f"{word!r} is no run. Runs are called static_8f_seed0 (plain network, 8 frames, seed 0), s2_8f_seed0 "
            "(dynamic, search space 2), s2_temporal_8f_seed0 (frames only), single_frame_8f_seed0 (plain network, one "
            "frame repeated), cgnet_8f_seed0, or with a data set, a backbone or both before it "
            f"embedded_kinetics-i3d-s2_16f_seed0. Backbones: {', '.join(BACKBONES)}."
        )
    if match["seed"] != str(int(match["seed"])):
        raise ValueError(f"{word!r} is no run: write its seed without leading zeros, seed{int(match['seed'])}.")
    space = match["search_space"]
    return Run(
        word=word,
        data=match["data"] or "",
        backbone=match["backbone"] or "",
        network="dynamic" if space else match["network"],
        search_space=int(space) if space else None,
        dimensions=(match["dimension"] or "both") if space else "",
        long=bool(match["long"]),
        frames=int(match["frames"]),
        seed=int(match["seed"]),
    )


def require_plain(run: Run) -> None:
    """Raises ValueError for a run that is not a static network that sees the video: table B.1 is about those."""
    if not run.plain:
        what = "shown one frame repeated" if run.single_frame else run.network
        raise ValueError(f"{run.word} is {what}; redundancy is measured in static networks on whole clips.")
