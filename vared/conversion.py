"""Making a network dynamic, and plain again (thesis section 3.1: "for each 3D convolution layer").

`convert` swaps convolutions in place and keeps every parameter and its name; it adds only `*.gate.*` and `*.cheap_*`.
`specialize` bakes one policy into a plain network for export and compilation.
"""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vared.layers import DynamicConfig, DynamicConv2d, DynamicConv3d, candidates
from vared.policies import dynamic_layers, fixed_policy, one_hot_policy
from vared.specialized import SpecializedConv

Where = Callable[[str, nn.Module], bool]
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)


def is_spatial(name: str, conv: nn.Module) -> bool:
    """Default choice of `convert`: convolutions that see more than one pixel, but not one that reads the images."""
    return conv.in_channels > 4 and max(conv.kernel_size[-2:]) > 1


def convert(
    model: nn.Module, config: DynamicConfig | None = None, *, example: "Tensor | tuple[int, ...]",
    where: Where | None = None,
) -> nn.Module:  # fmt: skip
    """Make the convolutions that `where(name, conv)` selects dynamic, in place, and return `model`.

    `example` is a clip, or the shape of one: C x T x H x W (C x H x W for a 2-D network), without the batch. The
    network runs on it once to learn every layer's size; gates are built for that number of frames. Layers that
    leave nothing to decide (one frame and one channel, say) stay as they are. A second conversion changes nothing.

    Raises ValueError when nothing matches, the example does not fit, or a convolution is used twice; warns
    when no normalisation follows a dynamic layer, since its output is scaled by the gate.
    """
    config, where = config or DynamicConfig(), where or is_spatial
    _refuse_shared(model)
    convs = {name: m for name, m in model.named_modules() if type(m) in (nn.Conv2d, nn.Conv3d)}
    convs = {name: m for name, m in convs.items() if not _inside_dynamic(model, name)}
    chosen = {name: conv for name, conv in convs.items() if where(name, conv)}
    already = dynamic_layers(model)
    if not chosen:
        if already:
            return model
        raise ValueError(f"convert: `where` selects none of the {len(convs)} convolutions: {sorted(convs)[:20]}.")
    if "" in chosen:
        raise ValueError("convert: the model itself is a convolution; wrap it in nn.Sequential, or use from_conv.")
    shapes, without_norm = _observe(model, chosen, example)
    converted = {}
    for name, conv in chosen.items():
        if name not in shapes:
            raise ValueError(f"convert: layer {name!r} was not reached by the example {_shape(example)}.")
        kind = DynamicConv3d if isinstance(conv, nn.Conv3d) else DynamicConv2d
        factors, kept, _ = candidates(conv, config, shapes[name][1])
        if len(factors) == len(kept) == 1:
            continue
        converted[name] = kind.from_conv(conv, config, shapes[name])
        converted[name].gate.layer = name
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, converted[name])
    if not converted and not already:
        raise ValueError(f"convert: none of the {len(chosen)} selected layers has anything to decide under {config}.")
    if unscaled := sorted(without_norm & converted.keys()):
        warnings.warn(f"No normalisation follows the dynamic layers {unscaled}: their scale varies.", stacklevel=2)
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


def specialize(model: nn.Module, temporal: int = 1, channel: float = 1.0) -> nn.Module:
    """Copy of `model` in which every layer always takes the policy (R, r): plain modules, no gates, to export.

    Equals the model under `fixed_policy(model, temporal, channel)` in evaluation mode. Raises ValueError when the
    model has no dynamic layer or no layer has that candidate.
    """
    with fixed_policy(model, temporal, channel):  # checks the values
        plain = copy.deepcopy(model).eval()
    for name, layer in dynamic_layers(plain).items():
        parent, _, child = name.rpartition(".")
        v_t, v_c = one_hot_policy(layer, temporal, channel)
        setattr(plain.get_submodule(parent), child, SpecializedConv(layer, int(v_t.argmax()), int(v_c.argmax())))
    return plain


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


def _observe(model: nn.Module, chosen: dict[str, nn.Module], example) -> tuple[dict[str, tuple], set[str]]:
    """Input shape of each chosen convolution for one clip, and those that no normalisation follows."""
    shapes: dict[str, tuple] = {}
    order: list[tuple[str, nn.Module]] = []

    def hook(name: str):
        def note(module, inputs, _) -> None:
            if name in chosen:
                shapes[name] = tuple(inputs[0].shape[1:])
            order.append((name, module))

        return note

    leaves = [(n, m) for n, m in model.named_modules() if not list(m.children()) or n in dynamic_layers(model)]
    handles = [m.register_forward_hook(hook(n)) for n, m in leaves]
    training = {m: m.training for m in model.modules()}
    clip = example
    if not isinstance(example, Tensor):
        parameter = next(model.parameters())
        clip = torch.zeros(tuple(example), device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad():
            model.eval()(clip.unsqueeze(0))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"convert: the example {_shape(example)} does not fit the network: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    names = [name for name, _ in order]
    if repeated := sorted(name for name in chosen if names.count(name) > 1):
        raise ValueError(f"convert: the layers {repeated} run more than once in a forward pass; a gate decides once.")
    following = {name: after for (name, _), (_, after) in zip(order, order[1:], strict=False)}
    return shapes, {name for name in chosen if not isinstance(following.get(name), _NORMS)}


def _refuse_shared(model: nn.Module) -> None:
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (nn.Conv2d, nn.Conv3d)) and names.setdefault(module, name) != name:
            raise ValueError(f"convert: one convolution is used under two names, {names[module]!r} and {name!r}.")


def _inside_dynamic(model: nn.Module, name: str) -> bool:
    return any(name.startswith(f"{layer}.") for layer in dynamic_layers(model))


def _shape(example) -> tuple[int, ...]:
    return tuple(example.shape) if isinstance(example, Tensor) else tuple(example)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
