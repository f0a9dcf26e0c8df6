"""VA-RED²: video networks that decide, per clip and per layer, how much to compute.

    model = vared.create_model("r2plus1d_18", num_classes=200, num_frames=16, crop_size=128,
                               dynamic=vared.DynamicConfig())
    logits = model(clips)                                   # B x 3 x T x H x W -> B x 200
    policies = vared.policy(model)                          # what every gate decided for every clip
    costs = vared.count_flops(model, clips[0])              # GMACs of the plain network, and as executed
    efficiency = vared.EfficiencyLoss(costs.dynamic_layers) # equation 3.6
    loss = cross_entropy(logits, labels) + 0.8 * efficiency(policies, logits.argmax(1) == labels)
    with vared.fixed_policy(model, temporal=2, channel=0.5):
        logits = model(clips)                               # every layer at half its frames and channels
    prediction = vared.predict("video.mp4")                 # labels and cost, by a small network that comes trained

Names are loaded on first use, so that reading results does not import torch.
"""

from importlib import import_module

from vared.torch_version import require_torch

require_torch()

__version__ = "0.1.0"

_HOME = {
    "SoftModulationGate": "gate",
    "DynamicConfig": "layers",
    "DynamicConv2d": "layers",
    "DynamicConv3d": "layers",
    "Policy": "gate",
    "policy": "policies",
    "fixed_policy": "policies",
    "convert": "conversion",
    "revert": "conversion",
    "specialize": "specialized",
    "accelerate": "acceleration",
    "export_onnx": "export",
    "summary": "conversion",
    "EfficiencyLoss": "losses",
    "FlopReport": "flops",
    "count_flops": "flops",
    "create_model": "backbones",
    "list_models": "backbones",
    "Recipe": "training",
    "fit": "training",
    "evaluate": "evaluation",
    "list_ready": "ready",
    "load_ready": "ready",
    "Prediction": "prediction",
    "Predictor": "prediction",
    "predict": "prediction",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vared' has no attribute {name!r}")
    return getattr(import_module(f"vared.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
