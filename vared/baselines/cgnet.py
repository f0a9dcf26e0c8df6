"""CGNet: each value of a feature map decides, from a part of its sum, whether the rest is added (thesis section 4.4,
table 4.8; Hua et al., "Channel Gating Neural Networks", NeurIPS 2019, section 3).

    partial = W_p * x_p                      base path: 1/G of the input channels
    gate    = step(norm(partial) - Delta)    one threshold Delta an output channel, a gate for every value
    output  = gate (W * x) + (1 - gate) partial

Input and output channels are cut into G groups, and group g of the input is the base path of group g of the output, so
that no input channel is always or never in it. Groups are shuffled: a base path draws evenly on all groups of the
layer before. The step has the gradient of a sigmoid. Thresholds are pulled to a target T by lambda sum (T - Delta)^2,
the only pressure on the cost.

As in the PyTorch code of the authors, one normalisation follows both paths, that of the network. The optional second
gate of the paper, for whole channels, is left out. Costs are counted: both paths are computed in full here, the pattern
of gates saves time on the paper's own hardware only.

Shapes: B clip, C channel, T frame, H W pixel, G groups.
"""

from dataclasses import dataclass
from itertools import zip_longest
from statistics import NormalDist

import torch
from torch import Tensor, nn

from vared.flops import FlopReport
from vared.selection import Where


@dataclass(frozen=True)
class Decision:
    """Gates of one layer in the last forward pass.

    `open` (B x C_out) is the share of a channel's values that were completed, `base` (C_out) the share of the input
    channels in the base path.
    """

    open: Tensor
    base: Tensor

    @property
    def cost(self) -> Tensor:
        """Share of the layer's multiply-accumulates, B: 1/G with all gates shut, 1 with all open."""
        return (self.base + (1 - self.base) * self.open).mean(1)


class _ChannelGated:
    """What ChannelGatedConv2d and ChannelGatedConv3d share. Mixed into nn.Conv*d."""

    @classmethod
    def from_conv(
        cls, conv: nn.Module, *, groups: int = 4, threshold: float = 0.0, slope: float = 2.0, shuffle: bool = True
    ) -> nn.Module:
        """Channel-gated version of `conv` that shares its weight and bias; see `convert_cgnet` for the rest.

        Raises ValueError for a grouped convolution and for fewer channels than groups.
        """
        channels = min(conv.in_channels, conv.out_channels)
        if conv.groups > 1 or conv.padding_mode != "zeros" or not 2 <= groups <= channels:
            raise ValueError(
                f"cannot be channel-gated in {groups} groups: that takes zero padding, a convolution without groups of "
                f"its own, and from 2 groups to the smaller number of channels, but it is {conv}"
            )
        layer = cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1,
            conv.bias is not None, device="meta",
        )  # fmt: skip
        layer.weight, layer.bias, device = conv.weight, conv.bias, conv.weight.device
        layer.gate_groups, layer.slope = groups, slope
        layer.threshold = nn.Parameter(torch.full((conv.out_channels,), float(threshold), device=device))
        layer.norm = cls.norm_class(conv.out_channels, affine=False, device=device)
        order = torch.tensor(channel_order(conv.in_channels, groups, shuffle), device=device)
        layer.register_buffer("order", order, persistent=False)
        layer.last_decision = None
        return layer.train(conv.training)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that train without weight decay, which would pull them to another target."""
        return {"threshold"}

    def partial_sum(self, x: Tensor) -> Tensor:
        """What the base path computes, of the shape of the full sum; the bias belongs to it."""
        bases, weights = self.order.tensor_split(self.gate_groups), self.weight.tensor_split(self.gate_groups)
        biases = [None] * self.gate_groups if self.bias is None else self.bias.tensor_split(self.gate_groups)
        parts = zip(bases, weights, biases, strict=True)
        return torch.cat([self._conv_forward(x[:, base], weight[:, base], bias) for base, weight, bias in parts], 1)

    def base_share(self) -> Tensor:
        """Share of the input channels in the base path of each output channel, C_out, float64."""
        sizes = [len(base) for base in self.order.tensor_split(self.gate_groups)]
        outputs = [len(part) for part in self.threshold.tensor_split(self.gate_groups)]
        shares = torch.tensor(sizes, dtype=torch.float64, device="cpu") / self.in_channels
        return shares.repeat_interleave(torch.tensor(outputs, device="cpu"))

    def gate(self, partial: Tensor) -> Tensor:
        """0 or 1 for every value of the partial sum, with the gradient of sigmoid(slope (norm(partial) - Delta))."""
        score = self.norm(partial) - self.threshold.view(-1, *[1] * (partial.dim() - 2))
        soft = torch.sigmoid(self.slope * score)
        return (score > 0).to(soft.dtype) + (soft - soft.detach())

    def forward(self, x: Tensor) -> Tensor:
        """B x C_in x T x H x W (without T for ChannelGatedConv2d) -> the shape that the plain convolution gives."""
        partial = self.partial_sum(x)
        gate = self.gate(partial)
        opened = gate.detach().flatten(2).double().mean(2)
        self.last_decision = Decision(opened, self.base_share().to(opened.device))
        return self._conv_forward(x, self.weight, self.bias) * gate + partial * (1 - gate)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gate_groups={self.gate_groups}"


class ChannelGatedConv3d(_ChannelGated, nn.Conv3d):
    """nn.Conv3d with a gate for every value of its output. Built by `convert_cgnet`."""

    norm_class = nn.BatchNorm3d


class ChannelGatedConv2d(_ChannelGated, nn.Conv2d):
    """nn.Conv2d with a gate for every value of its output. Built by `convert_cgnet`."""

    norm_class = nn.BatchNorm2d


def convert_cgnet(
    model: nn.Module, *, where: Where, groups: int = 4, threshold: float = 0.0, slope: float = 2.0, shuffle: bool = True
) -> nn.Module:
    """Make the convolutions that `where(name, conv)` selects channel-gated, in place, and return `model`.

    Parameters keep their names; thresholds and the gates' running statistics are added. `groups` is G, `threshold` the
    first value of Delta, `slope` that of the sigmoid whose gradient the step has. Defaults are those of the authors'
    code. Where G does not divide the channels, groups differ by one channel.

    Raises ValueError, and changes nothing, when nothing is selected or a selected layer cannot be gated.
    """
    kinds = {nn.Conv2d: ChannelGatedConv2d, nn.Conv3d: ChannelGatedConv3d}
    gated = {}
    for name, conv in model.named_modules():
        if name and isinstance(conv, tuple(kinds)) and not isinstance(conv, _ChannelGated) and where(name, conv):
            if type(conv) not in kinds:
                raise ValueError(f"convert_cgnet: layer {name!r} is a {type(conv).__name__}, no plain convolution.")
            try:
                gated[name] = kinds[type(conv)].from_conv(
                    conv, groups=groups, threshold=threshold, slope=slope, shuffle=shuffle
                )
            except ValueError as error:
                raise ValueError(f"convert_cgnet: layer {name!r} {error}.") from error
    if not gated:
        raise ValueError("convert_cgnet: `where` selects no convolution.")
    for name, layer in gated.items():
        model.set_submodule(name, layer)
    return model


def gated_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Channel-gated convolutions of `model` by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, _ChannelGated)}


def threshold_loss(model: nn.Module, target: float) -> Tensor:
    """sum over layers and output channels of (T - Delta)^2; the authors' code weights it with 1e-4 or less.

    Raises ValueError for a model without channel-gated layers.
    """
    layers = gated_layers(model)
    if not layers:
        raise ValueError("threshold_loss needs channel-gated layers, and this model has none: convert_cgnet it first.")
    return sum((target - layer.threshold).square().sum() for layer in layers.values())


def threshold_for(cost: float, groups: int = 4) -> float:
    """The threshold at which a layer has the share `cost` of its operations if normalised partial sums are normal.

    Raises ValueError unless 1/G < cost < 1.
    """
    if not 1 / groups < cost < 1:
        raise ValueError(f"A layer gated in {groups} groups costs from {1 / groups:g} to 1 of itself, not {cost:g}.")
    return -NormalDist().inv_cdf((cost - 1 / groups) / (1 - 1 / groups))


def clip_gmacs(model: nn.Module, report: FlopReport) -> Tensor:
    """GMACs of every clip of the last forward pass, B, float64; `report` is `count_flops` of the same network."""
    layers = gated_layers(model).items()
    return report.static - sum(report.static_layers[name] * (1 - layer.last_decision.cost) for name, layer in layers)


def channel_order(channels: int, groups: int, shuffle: bool) -> list[int]:
    """Input channels in the order in which they are cut into groups; shuffled: one of each former group in turn."""
    order = list(range(channels))
    if not shuffle:
        return order
    former = torch.tensor(order, device="cpu").tensor_split(groups)
    return [c for turn in zip_longest(*(part.tolist() for part in former)) for c in turn if c is not None]
