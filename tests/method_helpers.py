"""An independent reading of the method: literal loops over the equations, in fp64, and random dynamic layers to test.

Nothing here calls the mixes or the sparse execution of the package: weights are read by their state-dict names, and
candidates, kept channels and output frames are worked out again from the definitions.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from vared.layers import DynamicConfig, DynamicConv2d, DynamicConv3d
from vared.policies import dynamic_layers, forced_policy

CHEAP = ("depthwise", "affine", "copy")


def expected_factors(search_space: int, frames_out: int) -> list[int]:
    """R = 1, 2, 4, ... without the candidates that keep as many frames as an earlier one."""
    kept, factors = [], []
    for j in range(search_space):
        if (count := ceil(frames_out / 2**j)) not in kept:
            kept.append(count)
            factors.append(2**j)
    return factors


def expected_kept(search_space: int, channels: int, groups: int = 1) -> list[int]:
    """K_i = ceil(r_i C), or whole groups, without the candidates that keep as many channels as an earlier one."""
    kept = []
    for i in range(search_space):
        count = ceil(channels / 2**i) if groups == 1 else ceil(groups / 2**i) * (channels // groups)
        if count not in kept:
            kept.append(count)
    return kept


@dataclass(frozen=True)
class Geometry:
    """A convolution and what makes it dynamic, as drawn by hypothesis."""

    in_channels: int = 3
    out_channels: int = 6
    kernel: tuple[int, ...] = (1, 3, 3)
    stride: tuple[int, ...] = (1, 1, 1)
    padding: tuple[int, ...] = (0, 1, 1)
    dilation: tuple[int, ...] = (1, 1, 1)
    groups: int = 1
    bias: bool = False
    frames: int = 8
    side: int = 4
    config: DynamicConfig = field(default_factory=DynamicConfig)

    @property
    def frames_out(self) -> int:
        span = self.frames + 2 * self.padding[0] - self.dilation[0] * (self.kernel[0] - 1) - 1
        return span // self.stride[0] + 1

    def factors(self) -> list[int]:
        return expected_factors(self.config.search_space if self.config.temporal else 1, self.frames_out)

    def kept(self) -> list[int]:
        return expected_kept(self.config.search_space if self.config.channel else 1, self.out_channels, self.groups)

    def conv(self, dtype=torch.float64) -> nn.Conv3d:
        return nn.Conv3d(
            self.in_channels, self.out_channels, self.kernel, self.stride, self.padding, self.dilation, self.groups,
            self.bias, dtype=dtype,
        )  # fmt: skip

    def layer(self, seed: int = 0, dtype=torch.float64) -> DynamicConv3d:
        """The dynamic layer with random weights everywhere, cheap operations included."""
        torch.manual_seed(seed)
        shape = (self.in_channels, self.frames, self.side, self.side)
        layer = DynamicConv3d.from_conv(self.conv(torch.float64), self.config, shape).to(dtype)
        return randomise_cheap(layer)

    def clips(self, batch: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, self.in_channels, self.frames, self.side, self.side)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@st.composite
def geometries(draw, max_frames: int = 9) -> Geometry:
    """Random dynamic convolutions with something to decide and at least one output frame and pixel."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group_in, per_group_out = draw(st.integers(1, 3)), draw(st.integers(1, 9 if groups == 1 else 3))
    depthwise = draw(st.booleans()) and groups > 1
    dims = draw(st.sampled_from([(1, 3, 3), (3, 1, 1), (3, 3, 3), (1, 1, 1), (2, 3, 1)]))
    geometry = Geometry(
        in_channels=groups if depthwise else groups * per_group_in,
        out_channels=groups if depthwise else groups * per_group_out,
        kernel=dims,
        stride=(draw(st.integers(1, 3)), *draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))),
        padding=tuple(draw(st.integers(0, 1)) for _ in range(3)),
        dilation=(draw(st.integers(1, 2)), *draw(st.sampled_from([(1, 1), (2, 1)]))),
        groups=groups,
        bias=draw(st.booleans()),
        frames=draw(st.integers(1, max_frames)),
        side=draw(st.integers(5, 6)),
        config=DynamicConfig(
            search_space=draw(st.integers(1, 4)), temporal=draw(st.booleans()), channel=draw(st.booleans()),
            cheap=draw(st.sampled_from(CHEAP)), pool_time=draw(st.booleans()),
        ),
    )  # fmt: skip
    return geometry


def randomise_cheap(model: nn.Module, spread: float = 1.0) -> nn.Module:
    """Random changes to every cheap operation, so that no test leans on their identity start."""
    with torch.no_grad():
        for layer in dynamic_layers(model).values():
            for name, parameter in layer.named_parameters():
                if name.startswith("cheap_"):
                    parameter.add_(spread * torch.randn_like(parameter))
    return model


def randomise_gates(model: nn.Module, seed: int = 0) -> nn.Module:
    """Gates whose decisions depend strongly on the clip, every pattern and the all-zero rule included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in dynamic_layers(model).values():
            weight, bias = layer.gate.expand.weight, layer.gate.expand.bias
            weight.copy_(torch.randn(weight.shape, generator=generator))
            bias.copy_(0.5 * torch.randn(bias.shape, generator=generator))
    return model


def calibrate(model: nn.Module, clips: torch.Tensor) -> nn.Module:
    """Running statistics of every batch normalisation, gates included, become those of `clips`; left in evaluation."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(clips)
    return model.eval()


def random_weights(batch: int, candidates: int, seed: int) -> torch.Tensor:
    """V (batch x candidates): random open patterns per clip, at least one open; (batch x 1) is the constant 1."""
    if candidates == 1:
        return torch.ones(batch, 1)
    rng = np.random.default_rng(seed)
    opened = rng.random((batch, candidates)) < 0.5
    opened[np.arange(batch), rng.integers(candidates, size=batch)] = True
    return torch.tensor(np.where(opened, _weights(rng, opened.shape), 0.0), dtype=torch.float32)


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multiples of 1/4096: their sums are exact in fp32, in which a gate's weights are kept."""
    return rng.integers(200, 4096, shape) / 4096


def every_pattern(temporal: int, channel: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """V_t, V_c with one row for each combination of open candidates of the two dimensions."""
    rng = np.random.default_rng(seed)

    def patterns(count: int) -> list[list[bool]]:
        return [[bool(code >> i & 1) for i in range(count)] for code in range(1, 2**count)]

    rows = [(t, c) for t in patterns(temporal) for c in patterns(channel)]

    def values(index: int, count: int) -> torch.Tensor:
        opened = np.array([row[index] for row in rows]).reshape(-1, count)
        return torch.tensor(np.where(opened, _weights(rng, opened.shape), 0.0), dtype=torch.float32)

    v_t, v_c = values(0, temporal), values(1, channel)
    return (torch.ones_like(v_t) if temporal == 1 else v_t), (torch.ones_like(v_c) if channel == 1 else v_c)


def run(layer: nn.Module, x: torch.Tensor, v_t: torch.Tensor, v_c: torch.Tensor, *, sparse: bool) -> torch.Tensor:
    """Output of one layer with given weights: evaluation (`sparse`), or training with the gate in evaluation."""
    layer.eval()
    layer.training = not sparse
    with forced_policy(layer, {"": (v_t, v_c)}):
        return layer(x)


@contextmanager
def dense(model: nn.Module):
    """Dynamic layers compute densely while everything else (norms, gates) stays in evaluation mode."""
    model.eval()
    layers = dynamic_layers(model).values()
    try:
        for layer in layers:
            layer.training = True
        yield model
    finally:
        model.eval()


def relative_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference relative to the largest expected value."""
    assert actual.shape == expected.shape, (tuple(actual.shape), tuple(expected.shape))
    scale = expected.detach().double().abs().max().item()
    return (actual.detach().double() - expected.detach().double()).abs().max().item() / max(scale, 1e-30)


def oracle(layer: nn.Module, x: torch.Tensor, v_t: torch.Tensor, v_c: torch.Tensor) -> torch.Tensor:
    """Y of equations (3.1)-(3.5) in fp64, map by map: one convolution, then a channel mix, then a temporal mix."""
    state = {name: value.detach().double() for name, value in layer.state_dict().items()}
    bias = state.get("bias")
    full = F.conv3d(
        x.double(), state["weight"], bias, layer.stride, layer.padding, layer.dilation, layer.groups
    ).numpy()  # fmt: skip
    _, channels, frames = full.shape[:3]
    config, state = layer.config, {name: value.numpy() for name, value in state.items()}
    kept = expected_kept(config.search_space if config.channel else 1, channels, layer.groups)
    factors = expected_factors(config.search_space if config.temporal else 1, frames)
    v_t, v_c = v_t.detach().double().numpy(), v_c.detach().double().numpy()
    result = np.zeros_like(full)
    for b in range(full.shape[0]):
        mixed = np.zeros_like(full[b])
        for i, k in enumerate(kept):
            for c in range(channels):
                for t in range(frames):
                    value = full[b, c % k, t]  # the channel itself when it is kept
                    if c >= k:
                        value = _cheap(state, f"cheap_channel.{i - 1}", c - k, value)
                    mixed[c, t] += v_c[b, i] * value
        for j, factor in enumerate(factors):
            for t in range(frames):
                offset, source = t % factor, factor * (t // factor)
                for c in range(channels):
                    value = mixed[c, source]
                    if offset:
                        value = _cheap(state, f"cheap_temporal.{j - 1}.{offset - 1}", c, value)
                    result[b, c, t] += v_t[b, j] * value
    return torch.from_numpy(result)


def _cheap(state: dict[str, np.ndarray], name: str, channel: int, image: np.ndarray) -> np.ndarray:
    """One generated map from its source map: depthwise 3 x 3 (zero border), affine, or a copy."""
    if f"{name}.weight" in state:
        kernel, padded = state[f"{name}.weight"][channel].reshape(3, 3), np.pad(image, 1)
        height, width = image.shape
        return sum(kernel[y, x] * padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    if f"{name}.scale" in state:
        return state[f"{name}.scale"][channel].item() * image + state[f"{name}.shift"][channel].item()
    return image


def tiny_r2plus1d(frames: int = 8, search_space: int = 2, seed: int = 0, side: int = 16, **settings) -> nn.Module:
    """R(2+1)D-18 at width 1/8 in evaluation mode, dynamic unless `search_space` is 0."""
    import vared

    torch.manual_seed(seed)
    dynamic = DynamicConfig(search_space=search_space, **settings) if search_space else None
    model = vared.create_model(
        "r2plus1d_18", num_classes=5, num_frames=frames, crop_size=side, width=0.125, dynamic=dynamic
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.ones_(module.weight)  # so that no block starts as its shortcut alone
    return model.eval()


def plain_image_network(channels: int = 8) -> nn.Sequential:
    """A small 2-D network: two convolutions with normalisation."""
    return nn.Sequential(
        nn.Conv2d(5, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.Conv2d(channels, 7, 3, stride=2, padding=1), nn.BatchNorm2d(7),
    )  # fmt: skip


def is_dynamic(module: nn.Module) -> bool:
    return isinstance(module, (DynamicConv2d, DynamicConv3d))
