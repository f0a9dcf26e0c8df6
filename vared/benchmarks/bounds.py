"""Versions outside of the contest that show what is possible: the exported networks in onnxruntime.

The specialised network takes the cheapest policy (2, 1/2) for every clip and layer and decides nothing: no network that
looks at its clips can be expected to be faster at these operations.

Shapes: clips are B x C x T x H x W.
"""

from vared.benchmarks.cases import Case
from vared.benchmarks.onnx_version import SPECIALISED, STATIC, onnx_builder
from vared.benchmarks.subjects import Subject, plain_network
from vared.benchmarks.versions import Run
from vared.flops import count_flops
from vared.policies import fixed_policy

FACTOR, RATIO = 2, 0.5  # the policy baked in


def exported_runs(case: Case, subject: Subject) -> dict[str, Run]:
    """Both versions by name, when the case asks for them."""
    if not case.exported:
        return {}
    specialised = onnx_builder(FACTOR, RATIO)
    return {
        STATIC: onnx_builder()(plain_network(subject.model), subject.clips),
        SPECIALISED: specialised(subject.model, subject.clips),
    }


def exported_gmacs(subject: Subject) -> dict[str, float]:
    """GMACs of a clip that each of them computes, without the cheap operations, as the thesis counts."""
    with fixed_policy(subject.model, FACTOR, RATIO):
        baked = count_flops(subject.model, subject.clips[:1]).costs.backbone.item()
    return {STATIC: subject.report.static, SPECIALISED: baked}
