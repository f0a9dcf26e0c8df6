"""A trained network made ready to run fast: the same function, in fewer passes over memory.

    fast = vared.accelerate(model)
    fast = torch.compile(fast)         # what is static is fused further; inference only

Every normalisation is folded into the convolution before it. That of a dynamic convolution, and the ReLU after it, go
into the layer (`layers`), since gate weights stand between the two. On a CPU a layer with large maps runs
in blocks (`blocks`), every other one by groups of clips that decided alike (`execution`).

Shapes: B clip, C channel, T frame, H W pixel, S candidates.
"""

import copy
import warnings

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vared.acceleration.layers import accelerated
from vared.layers import DynamicConv2d, DynamicConv3d
from vared.policies import dynamic_layers

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_RELU = (torch.relu, nn.functional.relu, "relu", "relu_")


def accelerate(model: nn.Module) -> nn.Module:
    """Copy of `model` for inference that computes the same function faster; gates decide as before.

    `policy`, `fixed_policy`, `forced_policy` and `count_flops` work on it, and dynamic layers keep their names; the
    rest of the attributes of `model` may be gone. It cannot be trained. Run it under torch.inference_mode or no_grad
    with clips in channels-last memory. Where torch.fx cannot follow `model`, a warning says so and normalisations
    stay where they are.

    Raises ValueError when `model` itself is a dynamic layer, which has no place for a replacement.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    if "" in dynamic_layers(fast):
        raise ValueError("accelerate: the model itself is a dynamic layer; wrap it in nn.Sequential.")
    try:
        graph = _Tracer().trace(fast)
    except Exception as error:  # whatever the network's own code does when it is given no numbers
        warnings.warn(f"accelerate: normalisations are not folded, {type(error).__name__}: {error}", stacklevel=2)
        for name, layer in dynamic_layers(fast).items():
            _replace(fast, name, accelerated(layer, None, False))
    else:
        _fold(fast, graph)
        fast = fx.GraphModule(fast, graph)
    for module in fast.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            layout = torch.channels_last_3d if isinstance(module, nn.Conv3d) else torch.channels_last
            module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return fast


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (DynamicConv2d, DynamicConv3d)) or super().is_leaf_module(module, name)


def _fold(model: nn.Module, graph: fx.Graph) -> None:
    """Folds what follows each convolution into it, in `model` and in `graph`."""
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    for node in calls:
        conv = modules[node.target]
        if not isinstance(conv, (nn.Conv2d, nn.Conv3d)) or sum(other.target == node.target for other in calls) > 1:
            continue
        norm = _next(node, lambda n: n.op == "call_module" and _is_fixed_norm(modules[n.target]))
        relu = _next(norm or node, lambda n: _is_relu(n, modules))
        if isinstance(conv, (DynamicConv2d, DynamicConv3d)):
            fast = accelerated(conv, modules[norm.target] if norm else None, relu is not None)
            passed = [relu, norm]
        elif norm:
            fast, passed = fuse_conv_bn_eval(conv, modules[norm.target]), [norm]
        else:
            continue
        _replace(model, node.target, fast)
        for follower in filter(None, passed):
            follower.replace_all_uses_with(follower.args[0])
            graph.erase_node(follower)


def _next(node: fx.Node, wanted) -> fx.Node | None:
    """The only node that reads `node`, if it is `wanted`."""
    users = list(node.users)
    return users[0] if len(users) == 1 and wanted(users[0]) else None


def _is_fixed_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) and module.running_var is not None


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    return type(modules[node.target]) is nn.ReLU if node.op == "call_module" else node.target in _RELU


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
