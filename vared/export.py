"""One policy for all clips, written as an ONNX file that runs without Python.

A graph cannot decide clip by clip: a dynamic network is specialised first. So the file is faster than what decides for
each clip ever gets at that policy, and less accurate than gates that look (see the control "mean policy").

Shapes: B clip, C channel, T frame, H W pixel.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from vared.checkpoints import write_atomically
from vared.gate import SoftModulationGate
from vared.policies import dynamic_layers, fixed_policy, keeping_policies
from vared.specialized import specialize
from vared.trial_run import Example, batch_of_one, evaluating, shape

INPUT, OUTPUT = "clips", "logits"
TOLERANCE = 1e-4  # relative; float32 networks of the thesis's depth differ by less than 1e-5
_TRACED, _CHECKED = 2, 3  # clips: a batch of one is traced as a constant, and another number shows that none was


def export_onnx(
    model: nn.Module, path: Path | str, example: Example, *, temporal: int | None = None, channel: float | None = None
) -> Path:
    """Write `model` in evaluation mode to the ONNX file `path`, whole or not at all, and return the path.

    example: a clip C x T x H x W (an image C x H x W for networks of 2-D convolutions), or its shape. The file takes
    `clips`, B times that, and gives `logits`. B is free, the other sizes are fixed.
    temporal, channel: the policy (R, r) that every layer of a dynamic network takes; if one is left out it is 1. A
    static network, plain or specialised, is exported without them.

    The file has passed ONNX's checker, and onnxruntime gives the logits of `model` (under `fixed_policy`) with it.
    Raises ValueError for a dynamic network without policy or the reverse, for gates that no policy replaces, weights
    that are not float32, and logits that differ; ImportError without onnx, onnxruntime or onnxscript.
    """
    _import_libraries()
    plain = _without_gates(model, temporal, channel)
    clip = batch_of_one(plain, example)
    if not isinstance(clip, Tensor):
        raise ValueError(f"export_onnx writes networks with one input, and the example has {len(clip)}.")
    clip = clip.to("cpu", torch.float32)
    with torch.no_grad():
        program = torch.onnx.export(
            plain, (clip.repeat(_TRACED, *[1] * (clip.dim() - 1)),), dynamo=True, verbose=False,
            input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip

    def write(temporary: Path) -> None:
        program.save(temporary, external_data=False)
        _check(temporary, model, clip, temporal, channel)

    write_atomically(path, write)
    return Path(path)


def onnx_session(path: Path | str, threads: int):
    """The ONNX file `path` in onnxruntime on the CPU, `threads` for each operation and one operation at a time."""
    _import_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only: warnings are about the machine, on every start
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _import_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Export needs onnx, onnxruntime and onnxscript: pip install 'vared[export]' ({error})."
        ) from error


def _without_gates(model: nn.Module, temporal: int | None, channel: float | None) -> nn.Module:
    """A copy on the CPU in evaluation mode, specialised if `model` is dynamic; raises ValueError as said above."""
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32 or parameter.is_meta:
            kind = "no data" if parameter.is_meta else str(parameter.dtype).removeprefix("torch.")
            raise ValueError(f"export_onnx writes float32 networks, and {name!r} has {kind}: convert with .float().")
    given = temporal is not None or channel is not None
    if dynamic_layers(model):
        if not given:
            raise ValueError(
                "This network has gates that decide for each clip, which an ONNX graph cannot: give the policy that "
                "all clips shall take, such as temporal=2, channel=0.5."
            )
        plain = specialize(model, *_policy(temporal, channel))
    elif given:
        raise ValueError(f"This network has no dynamic layer that could take temporal={temporal}, channel={channel}.")
    else:
        plain = copy.deepcopy(model).eval()
    if gates := [name for name, module in plain.named_modules() if isinstance(module, SoftModulationGate)]:
        raise ValueError(f"The gates {', '.join(gates)} are not part of a dynamic layer: no policy replaces them.")
    return plain.cpu().requires_grad_(False)


def _policy(temporal: int | None, channel: float | None) -> tuple[int, float]:
    return 1 if temporal is None else temporal, 1.0 if channel is None else channel


def _check(path: Path, model: nn.Module, clip: Tensor, temporal: int | None, channel: float | None) -> None:
    """Raises an error unless the file is valid and gives the logits of `model` for clips it was not traced with."""
    import onnx

    onnx.checker.check_model(str(path), full_check=True)
    clips = torch.randn(_CHECKED, *clip.shape[1:], generator=torch.Generator().manual_seed(0))
    expected = _logits(model, clips, temporal, channel)
    found = torch.from_numpy(onnx_session(path, torch.get_num_threads()).run([OUTPUT], {INPUT: clips.numpy()})[0])
    difference = ((found - expected).norm() / expected.norm()).item()
    if not difference <= TOLERANCE:
        raise ValueError(
            f"onnxruntime and torch differ by {difference:.1e} of the logits on clips {shape(clips)}, more than "
            f"{TOLERANCE:.0e}: the file was not written."
        )


@torch.no_grad()
def _logits(model: nn.Module, clips: Tensor, temporal: int | None, channel: float | None) -> Tensor:
    device = next(model.parameters()).device
    with keeping_policies(model), evaluating(model):
        if not dynamic_layers(model):
            return model(clips.to(device)).cpu()
        with fixed_policy(model, *_policy(temporal, channel)):
            return model(clips.to(device)).cpu()
