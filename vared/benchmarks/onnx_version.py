"""Versions in onnxruntime: the static network, and the network with one policy baked in.

The second decides nothing, so at the operations of its policy nothing that looks at the clips can be expected to be
faster: the input-independent bound.

Shapes: clips are B x C x T x H x W, outputs B x classes.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from vared.export import INPUT, OUTPUT, export_onnx, onnx_session

STATIC, SPECIALISED = "onnx static", "onnx specialised"


def onnx_builder(
    temporal: int | None = None, channel: float | None = None
) -> Callable[[nn.Module, Tensor], Callable[[], Tensor]]:
    """What makes a version of a network and a batch: a function that runs the batch in onnxruntime when called.

    temporal, channel: the policy (R, r) of a dynamic network, as for `export_onnx`; none for a static one. The version
    has as many threads as torch has when it is made. Making it raises what `export_onnx` raises, and ValueError for
    clips that are not float32 on the CPU.
    """

    def build(model: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
        if clips.device.type != "cpu" or clips.dtype != torch.float32:
            raise ValueError(
                f"onnxruntime is measured in float32 on the CPU, not with {clips.dtype} on {clips.device}."
            )
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(
                model, Path(folder) / "network.onnx", tuple(clips.shape[1:]), temporal=temporal, channel=channel
            )
            session = onnx_session(path, torch.get_num_threads())
        inputs = {INPUT: clips.contiguous().numpy()}
        return lambda: torch.from_numpy(session.run([OUTPUT], inputs)[0])

    return build
