"""Which convolutions become dynamic: the default choice, and predicates to combine into another.

A predicate takes the name of a convolution and the convolution, and says whether to convert it:

    where = all_of(default_where(model, example=shape), not_(named("blocks.1.")))
    vared.convert(model, example=shape, where=where)

The default takes what the thesis makes dynamic in R(2+1)D, X3D and TSN-ResNet: the spatial and pointwise convolutions
of residual blocks; stems, shortcuts, heads and squeeze-excite stay static. I3D, which has no residual blocks, and
networks with added blocks need the `is_dynamic` of their file in `backbones`; `create_model` uses it.
"""

from collections.abc import Callable
from math import prod

from torch import nn

from vared.observation import Observed, observe
from vared.trial_run import Example

Where = Callable[[str, nn.Module], bool]

# Multiply-accumulates that computing a value must cost at least: rebuilding one costs up to 9 (reconstruction.py).
# Depthwise convolutions move more memory than they multiply, so that only large kernels are worth a decision.
MINIMAL_COST, MINIMAL_COST_DEPTHWISE = 2 * 9, 4 * 9


def default_where(model: nn.Module, *, example: Example) -> Where:
    """The choice that `convert` makes without `where`, as a predicate to combine. Runs the model once, see `convert`.

    Convolutions that see more than one pixel, and pointwise ones, unless `reason_against` has a reason.
    """
    seen = observe(model, example)
    return lambda name, conv: name in seen and reason_against(conv, seen[name]) is None


def reason_against(conv: nn.Module, seen: Observed) -> str | None:
    """Why the default leaves a convolution static, None where it does not. The first reason that holds."""
    reasons = (
        (conv.in_channels <= 4, f"has {conv.in_channels} input channels, as images have"),
        (conv.padding_mode != "zeros", f"pads with padding_mode={conv.padding_mode!r}"),
        (seen.place == "shortcut", "is the shortcut of a residual block"),
        (seen.place == "outside", "lies before the first or after the last residual block"),
        (seen.pooled, "reads globally pooled maps"),
        (temporal("", conv), "sees several frames of one pixel"),
        (_cost(conv) < _minimal_cost(conv), f"costs {_cost(conv)} MACs a value, too few to be worth rebuilding"),
        (not seen.normalised, "is not followed by a normalisation, which its gate's scale needs"),
    )
    return next((reason for holds, reason in reasons if holds), None)


def spatial(name: str, conv: nn.Module) -> bool:
    """Kernel larger than one pixel, whatever its length in time."""
    return max(conv.kernel_size[-2:]) > 1


def pointwise(name: str, conv: nn.Module) -> bool:
    """Kernel of one pixel of one frame."""
    return max(conv.kernel_size) == 1


def temporal(name: str, conv: nn.Module) -> bool:
    """Kernel of one pixel of several frames."""
    return not spatial(name, conv) and not pointwise(name, conv)


def depthwise(name: str, conv: nn.Module) -> bool:
    """Every output channel reads one input channel."""
    return conv.groups == conv.in_channels > 1


def named(*parts: str) -> Where:
    """Names that contain any of `parts`, such as "layer3." or ".conv2"."""
    return lambda name, conv: any(part in name for part in parts)


def all_of(*predicates: Where) -> Where:
    """True where every predicate is."""
    return lambda name, conv: all(predicate(name, conv) for predicate in predicates)


def any_of(*predicates: Where) -> Where:
    """True where some predicate is."""
    return lambda name, conv: any(predicate(name, conv) for predicate in predicates)


def not_(predicate: Where) -> Where:
    """True where the predicate is not."""
    return lambda name, conv: not predicate(name, conv)


def _cost(conv: nn.Module) -> int:
    return conv.in_channels // conv.groups * prod(conv.kernel_size)


def _minimal_cost(conv: nn.Module) -> int:
    return MINIMAL_COST_DEPTHWISE if depthwise("", conv) else MINIMAL_COST
