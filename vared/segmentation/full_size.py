"""What PSPNet costs in full size, counted on shapes alone."""

import torch

from vared.flops import count_flops
from vared.layers import DynamicConfig
from vared.policies import fixed_policy
from vared.tasks import pspnet

FULL_SIZE = {"classes": 150, "crop_size": 473}  # PSPNet's paper on ADE20K


def full_size_costs() -> dict[str, float]:
    """GFLOPs and parameters (millions) of PSPNet for ADE20K, static and at the cheapest policy; on shapes alone."""
    size, classes = FULL_SIZE["crop_size"], FULL_SIZE["classes"]
    with torch.device("meta"):
        model = pspnet.build(num_classes=classes, crop_size=size, dynamic=DynamicConfig(temporal=False))
        plain = pspnet.build(num_classes=classes, crop_size=size)
    report = count_flops(model, (3, size, size))
    with fixed_policy(model, channel=0.5):
        floor = count_flops(model, (3, size, size)).costs
    return {
        **FULL_SIZE, "gflops_static": report.static, "dynamic_layers": len(report.layers),
        "gflops_of_dynamic_layers": sum(report.dynamic_layers.values()),
        "gflops_floor": float(floor.backbone[0]), "gflops_floor_total": float(floor.total[0]),
        "parameters": sum(parameter.numel() for parameter in plain.parameters()) / 1e6,
        "parameters_added": sum(p.numel() for p in model.parameters()) / 1e6
        - sum(p.numel() for p in plain.parameters()) / 1e6,
    }  # fmt: skip
