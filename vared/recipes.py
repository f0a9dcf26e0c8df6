"""The training recipe of the thesis (section A.2): two phases, their lengths and their learning rates."""

from dataclasses import dataclass

from vared.optimization import Phase

PHASE_NUMBERS = (1, 2)


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the thesis's for R(2+1)D on Mini-Kinetics-200 and Kinetics-400.

    | field | thesis (section A.2) |
    |---|---|
    | epochs, warmup_epochs | 120 of which 15 warm-up; Moments-In-Time 60 and 8 |
    | finetune_epochs | 40; Moments-In-Time 20 (reading of "40/20") |
    | batch_size | 12 clips on each of 96 GPUs; here the clips of all processes together |
    | learning_rate | 0.18 for R(2+1)D, 1.8 for I3D and X3D, at a batch of 1152 |
    | finetune_learning_rate | 0.01 for R(2+1)D, 0.1 for I3D and X3D |
    | warmup_learning_rate | "initial weight of 0.01", read as the rate at which the warm-up starts |
    | weight_decay | 5e-4 for R(2+1)D, 1e-4 for I3D, 5e-5 for X3D; none on gates is our choice |
    | momentum | 0.9, Nesterov |
    | efficiency_weight | 0.8 (section 4.3), in phase 2 |

    All three rates are for a batch of `reference_batch` clips and scale linearly with the batch; with
    `reference_batch=None` they are taken as they are. Ours: `gate_rate_factor`, `finetune_gate_rate_factor` (the gates'
    rate in phase 1 and 2 over that of the rest), `finetune_warmup_epochs` (phase 2 starts with the efficiency loss at
    its steepest, and gates must not shut faster than the weights can follow), `gradient_norm` (the gradient of all
    parameters is scaled down to this norm; None: as it is), `efficiency_gradient` (see EfficiencyLoss),
    `recalibration_clips` (training clips that batch normalisation is measured on at the end; 0 for none),
    `precision` ("no", "bf16", "fp16"), `channels_last` (memory layout only), `seed` (order, augmentation, dropout).

    Raises ValueError for values that cannot train.
    """

    epochs: int = 120
    warmup_epochs: float = 15
    finetune_epochs: int = 40
    finetune_warmup_epochs: float = 0
    batch_size: int = 1152
    learning_rate: float = 0.18
    warmup_learning_rate: float = 0.01
    finetune_learning_rate: float = 0.01
    reference_batch: int | None = 1152
    weight_decay: float = 5e-4
    momentum: float = 0.9
    gate_rate_factor: float = 1.0
    finetune_gate_rate_factor: float = 1.0
    gradient_norm: float | None = None
    efficiency_weight: float = 0.8
    efficiency_gradient: str = "first_open"
    recalibration_clips: int = 1024
    precision: str = "no"
    channels_last: bool = True
    seed: int = 0

    def __post_init__(self):
        for name in (
            "epochs", "finetune_epochs", "warmup_epochs", "finetune_warmup_epochs", "warmup_learning_rate",
            "weight_decay", "seed",
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ValueError(f"Recipe needs {name} of at least 0, but it is {getattr(self, name)}.")
        for name in ("learning_rate", "finetune_learning_rate", "batch_size", "gradient_norm"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"Recipe needs {name} above 0, but it is {getattr(self, name)}.")
        for number, epochs, warmup in (
            (1, self.epochs, self.warmup_epochs), (2, self.finetune_epochs, self.finetune_warmup_epochs),
        ):  # fmt: skip
            if epochs and warmup >= epochs:
                raise ValueError(
                    f"The warm-up of {warmup} epochs counts inside the {epochs} epochs of phase {number}; "
                    f"make it shorter."
                )

    @property
    def rate_scale(self) -> float:
        """Factor from the rates above to those of the optimiser."""
        return self.batch_size / self.reference_batch if self.reference_batch else 1.0

    def phase(self, number: int) -> Phase:
        """Phase 1 learns with the accuracy loss alone, phase 2 adds the efficiency loss; a fresh optimiser each."""
        if number == 1:
            return Phase(
                number=1, first_epoch=0, epochs=self.epochs, learning_rate=self.learning_rate * self.rate_scale,
                warmup_epochs=self.warmup_epochs, warmup_learning_rate=self.warmup_learning_rate * self.rate_scale,
                efficiency_weight=0.0, gate_rate_factor=self.gate_rate_factor,
            )  # fmt: skip
        return Phase(
            number=2, first_epoch=self.epochs, epochs=self.finetune_epochs,
            learning_rate=self.finetune_learning_rate * self.rate_scale, warmup_epochs=self.finetune_warmup_epochs,
            warmup_learning_rate=0.0, efficiency_weight=self.efficiency_weight,
            gate_rate_factor=self.finetune_gate_rate_factor,
        )  # fmt: skip
