"""Soft modulation gate and its decision (thesis section 3.2, equation (3.4)).

Looks at the input of a convolution and weights, for every clip, each candidate of the temporal stride factor R and of
the channel ratio r. A candidate is open when its weight is above 0.

Shapes: B clip, C input channel, T input frame, H W pixel, S_t / S_c candidates of time / channels.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Weight of the smallest candidate when a clip would leave every candidate shut. The thesis does not define this case;
# emitting zeros would be absorbing, since neither gate nor weights of the layer would then get a gradient.
ALL_ZERO_WEIGHT = 0.05
GATE_NORMS = ("batch", "layer")


@dataclass(frozen=True)
class Policy:
    """Decision of one layer's gate for every clip of the last forward pass.

    `temporal` (B x S_t) and `channel` (B x S_c) are the candidate weights V_t, V_c; candidate j keeps every
    `temporal_factors[j]`-th frame, candidate i the share `channel_ratios[i]` of the channels. The first open
    candidate (V > 0) of a dimension decides how much is computed; smaller open ones reuse it.
    """

    temporal: Tensor
    channel: Tensor
    temporal_factors: tuple[int, ...]
    channel_ratios: tuple[float, ...]

    @property
    def all_zero_temporal(self) -> Tensor:
        """Clips for which the all-zero rule of the gate fired in time, B, bool."""
        return _all_zero(self.temporal)

    @property
    def all_zero_channel(self) -> Tensor:
        """Clips for which the all-zero rule of the gate fired in the channels, B, bool."""
        return _all_zero(self.channel)

    @property
    def temporal_choice(self) -> Tensor:
        """Index of the first open temporal candidate, B, int64."""
        return (self.temporal > 0).int().argmax(1)

    @property
    def channel_choice(self) -> Tensor:
        """Index of the first open channel candidate, B, int64."""
        return (self.channel > 0).int().argmax(1)

    @property
    def stride(self) -> Tensor:
        """Chosen temporal stride factor R, B, int64."""
        return torch.tensor(self.temporal_factors, device=self.temporal.device)[self.temporal_choice]

    @property
    def ratio(self) -> Tensor:
        """Chosen channel ratio r, B."""
        return torch.tensor(self.channel_ratios, device=self.channel.device)[self.channel_choice]

    @property
    def cost(self) -> Tensor:
        """Nominal share of the layer's computation, r / R, B (equation A.2)."""
        return self.ratio / self.stride


class SoftModulationGate(nn.Module):
    """Candidate weights of one layer for every clip, equation (3.4).

    u = mean of x over H, W -> [mean over T] -> h = tanh(norm(W1 u)) -> z = W2 h + b -> V = max(tanh z, 0)

    The printed shapes of W1 and W2 are swapped in the thesis; the hidden width, the bias and the initialisation are
    not printed. A dimension with one candidate has no gate output: its weight is the constant 1.

    Args:
        channels: input channels C of the convolution.
        frames: input frames T. The first linear layer is built for them, unless `pool_time`.
        temporal_candidates, channel_candidates: S_t, S_c, 1 or more.
        hidden: width of the hidden layer.
        bias: initial bias of every candidate. At +1 all candidates start open, V near tanh 1 = 0.76.
        pool_time: average over frames too; smaller, and works for any number of frames.
        norm: "batch" (as printed) or "layer", for batches too small for statistics.
    """

    def __init__(
        self, channels: int, frames: int, temporal_candidates: int, channel_candidates: int, *,
        hidden: int = 16, bias: float = 1.0, pool_time: bool = False, norm: str = "batch",
    ):  # fmt: skip
        super().__init__()
        self.layer = ""  # name of the convolution in its network, for errors; `convert` sets it
        if norm not in GATE_NORMS:
            raise ValueError(f"A gate's norm is 'batch' or 'layer', not {norm!r}.")
        self.channels, self.frames, self.pool_time = channels, frames, pool_time
        self.candidates = (temporal_candidates, channel_candidates)
        self.outputs = (temporal_candidates > 1) * temporal_candidates + (channel_candidates > 1) * channel_candidates
        self.reduce = nn.Linear(channels if pool_time else channels * frames, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden) if norm == "batch" else nn.LayerNorm(hidden)
        self.expand = nn.Linear(hidden, self.outputs)
        nn.init.normal_(self.expand.weight, std=0.3 / hidden**0.5)
        nn.init.constant_(self.expand.bias, bias)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one clip."""
        return self.reduce.in_features * self.reduce.out_features + self.expand.in_features * self.outputs

    def _apply(self, fn, recurse: bool = True):
        # A gate moves with its network, but is not cast with it: in half precision small V are flushed to 0.
        def move(t: Tensor) -> Tensor:
            moved = fn(t)
            return moved if moved.dtype == t.dtype else t.to(moved.device)

        return super()._apply(move, recurse)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B x C x T x H x W -> V_t (B x S_t) and V_c (B x S_c), in fp32 whatever the precision of the network.

        Raises ValueError for another number of frames or channels than the gate was built for, and in training for
        a batch of one clip with batch normalisation.
        """
        self.check(x)
        if self.norm.training and x.shape[0] == 1 and isinstance(self.norm, nn.BatchNorm1d):
            raise ValueError(
                f"The gate of layer {self.layer!r} has batch normalisation and cannot train on a batch of one clip. "
                "Use at least 2 clips a process, or DynamicConfig(gate_norm='layer')."
            )
        # In half precision small V are flushed to 0, which would change what is open.
        with without_autocast(x.device):
            # Rows and columns as one dimension, which a reduction runs through fast in channels-last memory. A sum and
            # not a mean, whose gradient would be a full map in another memory format than that of x.
            pixels = x.permute(0, 2, 3, 4, 1).flatten(2, 3)
            pooled = (pixels.sum(2, dtype=torch.float32) / pixels.shape[2]).transpose(1, 2)
            pooled = pooled.mean(-1) if self.pool_time else pooled.flatten(1)
            score = torch.tanh(self.expand(torch.tanh(self.norm(self.reduce(pooled)))))
        temporal, channel = self.candidates
        split = temporal if temporal > 1 else 0
        return _open(score[:, :split], temporal), _open(score[:, split:], channel)

    def check(self, x: Tensor) -> None:
        """Raises ValueError for another number of frames or channels than the gate was built for."""
        if x.shape[1] != self.channels or (not self.pool_time and x.shape[2] != self.frames):
            raise ValueError(
                f"The gate of layer {self.layer!r} was built for {self.channels} channels and {self.frames} frames, "
                f"but its input has {x.shape[1]} channels and {x.shape[2]} frames. Create the model for that number "
                "of frames, or with DynamicConfig(pool_time=True) for any."
            )


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Context in which operations keep the precision of their inputs."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _open(score: Tensor, candidates: int) -> Tensor:
    """V = max(score, 0), with the all-zero rule: then the smallest candidate opens a little, B x S."""
    return score.new_ones(score.shape[0], 1) if candidates == 1 else _Open.apply(score)


class _Open(torch.autograd.Function):
    @staticmethod
    def forward(ctx, score):
        weights, has_gradient = score.clamp(min=0), score >= 0
        shut = ~(weights != 0).any(1)
        weights[:, -1].masked_fill_(shut, ALL_ZERO_WEIGHT)
        # Straight-through: the value is the constant, the gradient that of the score, so that the gate can reopen.
        has_gradient[:, -1].logical_or_(shut)
        ctx.save_for_backward(has_gradient)
        return weights

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


def _all_zero(weights: Tensor) -> Tensor:
    closed = (weights[:, :-1] == 0).all(1) & (weights[:, -1] == ALL_ZERO_WEIGHT)
    return closed & (weights.shape[1] > 1)
