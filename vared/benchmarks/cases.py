"""What is timed: a network, its input, the policies, and the settings of the machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import yaml

from vared.benchmarks.mixes import OWN, parse_mix

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda")
_COUNTS = ("frames", "crop_size", "batch", "search_space", "threads", "repeats", "trials", "classes")


@dataclass(frozen=True)
class Case:
    """One measurement. `network` and its input are given, or `run` ("PROFILE/RUN"), whose trained network they are of.

    mix: which policies the clips get, see `mixes`. threads: of torch on the CPU. repeats: timed rounds. trials: timed
    runs of each static version before the fastest enter the contest. training: time a training step rather than
    inference, for search spaces 2 and 3. compile: try torch.compile. layers: time every layer too.
    exported: time the network in onnxruntime too, static and with one policy baked in.

    Raises ValueError that names the field for a value that cannot be measured.
    """

    name: str
    network: str = ""
    run: str = ""
    frames: int = 16
    crop_size: int = 128
    width: float = 1.0
    classes: int = 200
    search_space: int = 2
    batch: int = 8
    mix: str = "ratio-0.63"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    repeats: int = 10
    trials: int = 3
    seed: int = 0
    training: bool = False
    compile: bool = True
    layers: bool = False
    exported: bool = False

    def __post_init__(self):
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"A benchmark's name is made of letters, digits and . _ -, not {self.name!r}.")
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"Benchmark {self.name}: {name} must be a whole number of at least 1, not {value!r}.")
        for name, known in (("dtype", DTYPES), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise ValueError(f"Benchmark {self.name}: {name} must be one of {known}, not {getattr(self, name)!r}.")
        if not self.network:
            raise ValueError(f"Benchmark {self.name} needs the name of a network, or a run.")
        if not self.width > 0:
            raise ValueError(f"Benchmark {self.name}: width must be positive, not {self.width}.")
        if parse_mix(self.mix)[0] == OWN and not self.run:
            raise ValueError(f"Benchmark {self.name}: untrained gates have no policies of their own; give a run.")
        if self.training and (self.run or self.batch < 2 or self.dtype != "float32"):
            raise ValueError(f"Benchmark {self.name}: a training step is timed in float32, batch 2 or more, no run.")


FIELDS = tuple(field.name for field in fields(Case) if field.name != "name")


def named_case(parameters: Mapping, name: str, changes: Mapping[str, object]) -> Case:
    """The case `name` of the section `benchmarks` in params.yaml, with `changes` to its fields.

    Raises ValueError for an unknown case or field.
    """
    cases = parameters.get("benchmarks", {})
    if name not in cases:
        raise ValueError(f"There is no benchmark {name!r} in params.yaml, only {', '.join(cases) or 'none'}.")
    if unknown := set(cases[name]) - set(FIELDS):
        raise ValueError(f"params.yaml, benchmarks.{name}: unknown fields {sorted(unknown)}; known are {list(FIELDS)}.")
    return Case(**{"name": name, **cases[name], **changes})


def case_of_run(root: Path, parameters: Mapping, changes: Mapping[str, object]) -> Case:
    """The case of a trained run: its network, input and search space, with `changes`, which name the `run`.

    Raises ValueError for a word that names no dynamic run or a field that the run decides, FileNotFoundError without
    its weights.
    """
    from vared.runs import parse_run

    profile, _, word = str(changes["run"]).partition("/")
    if profile not in parameters["profiles"]:
        raise ValueError(f"--run is PROFILE/RUN with a profile of params.yaml, not {changes['run']!r}.")
    run, model = parse_run(word), parameters["profiles"][profile]["model"]
    if run.search_space is None:
        raise ValueError(f"{word} is a static network: its gates cannot be measured.")
    decided = {
        "network": model["backbone"], "frames": run.frames, "crop_size": model["crop_size"], "width": model["width"],
        "search_space": run.search_space,
    }  # fmt: skip
    if given := sorted(set(changes) & set(decided)):
        raise ValueError(f"The run {changes['run']} decides {', '.join(given)}: leave it out.")
    folder = weights_of(root, str(changes["run"]))
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist. Train it: vared train {profile} {word}")
    return Case(**{"name": f"{profile}-{word}", "mix": OWN, **decided, **changes})


def direct_case(changes: Mapping[str, object]) -> Case:
    """A case of the command line alone; crops have the thesis's size unless given."""
    from vared.costs.static_costs import CROP_SIZES

    network = str(changes.get("network", ""))
    case = Case(**{"name": "unnamed", "crop_size": CROP_SIZES.get(network, 128), **changes})
    if "name" in changes:
        return case
    kind = "training" if case.training else case.mix
    parts = (network, f"{case.frames}f", case.crop_size, f"batch{case.batch}", kind, case.device, case.dtype)
    return replace(case, name="_".join(map(str, parts)))


def weights_of(root: Path, run: str) -> Path:
    """Folder of the published weights of `run` ("PROFILE/RUN")."""
    return root / "data" / "runs" / run


def read_parameters(root: Path) -> dict:
    """The content of params.yaml."""
    return yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
