"""Making a network dynamic, and undoing it (thesis section 3.1: "for each 3D convolution layer").

`convert` swaps convolutions in place and keeps every parameter and its name; it adds only `*.gate.*` and `*.cheap_*`.
`revert` puts the plain convolutions back. Which convolutions: see selection.py.
"""

import warnings

import torch
from torch import nn

from vared.layers import DynamicConfig, DynamicConv2d, DynamicConv3d, candidates
from vared.observation import Observed, observe
from vared.policies import dynamic_layers
from vared.selection import Where, reason_against
from vared.trial_run import Example, shape


def convert(
    model: nn.Module, config: DynamicConfig | None = None, *, example: Example, where: Where | None = None
) -> nn.Module:
    """Make the convolutions that `where(name, conv)` selects dynamic, in place, and return `model`.

    `example` is a clip, or the shape of one: C x T x H x W (C x H x W for a network of 2-D convolutions), without the
    batch; for a network that takes a list of tensors, such as SlowFast, a list of those. The network runs on it once,
    in evaluation mode; gates are built for that number of frames. Without `where`, the spatial and pointwise
    convolutions of residual blocks are taken (`selection.default_where`).

    2-D convolutions become dynamic in their channels only. Layers that leave nothing to decide (one frame and one
    channel, say) stay as they are, and so do subclasses of nn.Conv2d and nn.Conv3d with a forward of their own. Hooks
    of a converted convolution are not carried over. A second conversion changes nothing.

    Raises ValueError, and changes nothing, for scripted, traced or quantised modules, when the example does not fit,
    nothing matches, or a selected convolution is shared, runs more than once or not at all, pads with anything but
    zeros, or has a weight that is computed from others. Warns when no normalisation follows a dynamic layer, since its
    output is scaled by the gate.
    """
    config = DynamicConfig() if config is None else config
    if not isinstance(config, DynamicConfig):
        raise TypeError(f"convert: config must be a DynamicConfig, not {config!r}.")
    _refuse_unconvertible(model)
    seen, already = observe(model, example), dynamic_layers(model)
    plain = {name: m for name, m in model.named_modules() if _is_plain(m)}
    if where is None:
        chosen = {n: conv for n, conv in plain.items() if n in seen and reason_against(conv, seen[n]) is None}
    else:
        chosen = {name: conv for name, conv in plain.items() if where(name, conv)}
    if not chosen and not already:
        raise ValueError(_nothing_matches(plain, seen, where))
    for name, conv in chosen.items():
        if problem := _problem(model, name, conv, seen.get(name), example):
            raise ValueError(f"convert: layer {name!r} {problem}. Or leave it out with `where`.")
    converted = {}
    for name, conv in chosen.items():
        kind = DynamicConv3d if isinstance(conv, nn.Conv3d) else DynamicConv2d
        factors, kept, _ = candidates(conv, config, seen[name].input_shape[1])
        if len(factors) > 1 or len(kept) > 1:
            converted[name] = kind.from_conv(conv, config, seen[name].input_shape)
            converted[name].gate.layer = name
    if chosen and not converted and not already:
        raise ValueError(f"convert: none of the {len(chosen)} selected layers has anything to decide under {config}.")
    for name, layer in converted.items():
        _replace(model, name, layer)
    if unscaled := [name for name in converted if not seen[name].normalised]:
        warnings.warn(f"No normalisation follows the dynamic layers {unscaled}: their scale varies.", stacklevel=2)
    return model


def revert(model: nn.Module) -> nn.Module:
    """Undo `convert` in place and return `model`: every dynamic layer is a plain convolution again.

    Weights are those that the layers have now; gates and cheap operations are dropped. The result computes what the
    model does under `fixed_policy(model)`. A model without dynamic layers is returned as it is.
    Raises ValueError when `model` itself is a dynamic layer.
    """
    for name, layer in dynamic_layers(model).items():
        if not name:
            raise ValueError("revert: the model itself is a dynamic layer and cannot be replaced in place.")
        base = nn.Conv3d if layer.is_3d else nn.Conv2d
        kind = layer.plain_class
        conv = kind.__new__(kind)  # the constructors of subclasses take other arguments
        base.__init__(
            conv, layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            layer.groups, layer.bias is not None, device="meta",
        )  # fmt: skip
        conv.weight, conv.bias = layer.weight, layer.bias
        _replace(model, name, conv.train(layer.training))
    return model


def gate_names(model: nn.Module) -> list[str]:
    """Names of the gates' parameters."""
    layers = dynamic_layers(model).items()
    return [f"{name}.gate.{part}" for name, layer in layers for part, _ in layer.gate.named_parameters()]


def no_decay_names(model: nn.Module) -> set[str]:
    """Parameters that train without weight decay: those of gates and of affine cheap operations."""
    return {
        f"{layer_name}.{name}"
        for layer_name, layer in dynamic_layers(model).items()
        for name, _ in layer.named_parameters()
        if name.startswith("gate.") or (name.startswith("cheap_") and name.endswith((".scale", ".shift")))
    }


def summary(model: nn.Module) -> str:
    """Table of the dynamic layers: kernel, output, candidates, and parameters that conversion added."""
    import pandas as pd

    layers = dynamic_layers(model)
    rows = [
        {
            "layer": name,
            "kernel": "x".join(map(str, layer.kernel_size)),
            "channels": layer.out_channels,
            "frames": layer.frames_out,
            "R": "/".join(map(str, layer.temporal_factors)),
            "kept channels": "/".join(map(str, layer.kept_channels)),
            "gate parameters": _count(layer.gate),
            "cheap parameters": _count(layer.cheap_channel) + _count(layer.cheap_temporal),
        }
        for name, layer in layers.items()
    ]
    added = sum(row["gate parameters"] + row["cheap parameters"] for row in rows)
    total = _count(model)
    head = f"{len(layers)} dynamic layers; {total:,} parameters, {added:,} of them in gates and cheap operations"
    return f"{head}\n{pd.DataFrame(rows).to_string(index=False)}" if rows else head


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _is_plain(module: nn.Module) -> bool:
    """True for a convolution that computes as nn.Conv2d or nn.Conv3d does, also for a subclass."""
    kind, bases = type(module), (nn.Conv2d, nn.Conv3d)
    return any(
        issubclass(kind, base) and (kind.forward, kind._conv_forward) == (base.forward, base._conv_forward)
        for base in bases
    )


def _refuse_unconvertible(model: nn.Module) -> None:
    if _is_plain(model):
        raise ValueError("convert: the model itself is a convolution; wrap it in nn.Sequential, or use from_conv.")
    for name, module in model.named_modules():
        kind, what = type(module), f"convert: the module {name!r}" if name else "convert: the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{what} is scripted or traced ({kind.__name__}). Convert the network it was made from.")
        if "Conv" in kind.__name__ and (".quantized" in kind.__module__ or ".qat" in kind.__module__):
            raise ValueError(f"{what} is quantised ({kind.__module__}). Convert the network before quantising it.")


def _problem(model: nn.Module, name: str, conv: nn.Module, seen: Observed | None, example: Example) -> str | None:
    """What keeps a selected convolution from being converted, as the end of a sentence."""
    names = [other for other, module in model.named_modules(remove_duplicate=False) if module is conv]
    if len(names) > 1:
        return f"is used under {len(names)} names, {' and '.join(map(repr, names))}; a gate decides for one place"
    if seen is None:
        return f"was not reached by the example {shape(example)}"
    if seen.runs > 1:
        return f"runs more than once in a forward pass, {seen.runs} times; a gate decides once"
    if conv.padding_mode != "zeros":
        return f"pads with padding_mode={conv.padding_mode!r}; only zero padding can be made dynamic"
    if "weight" not in dict(conv.named_parameters(recurse=False)):
        return "has a weight that is computed from others (pruning, weight or spectral normalisation): make it plain"
    return None


def _nothing_matches(plain: dict[str, nn.Module], seen: dict[str, Observed], where: Where | None) -> str:
    if where is not None:
        return f"convert: `where` selects none of the {len(plain)} convolutions: {sorted(plain)[:20]}."
    reasons = [f"{name!r} {reason_against(conv, seen[name])}" for name, conv in plain.items() if name in seen]
    return (
        f"convert: the default choice takes none of the {len(plain)} convolutions that compute as nn.Conv2d "
        f"and nn.Conv3d do: {'; '.join(reasons[:10])}. Select layers with where=."
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
