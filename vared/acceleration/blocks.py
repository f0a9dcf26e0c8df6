"""Sparse inference on a CPU, block by block: `execution`, the normalisation after it and ReLU in little memory traffic.

On a CPU a convolution gets faster with every frame and channel that it skips, but mixes that pass over whole maps eat
the gain. Here a clip's output is made in blocks of frames, each by one core: convolve what is kept of the block, then
mix channels, mix frames, normalise, cut at zero and write in one pass (`mix_kernel`). Without a compiled kernel,
operations of torch do the same frame by frame. A clip at a time needs no gathering of clips.

Layers with affine cheap operations, pointwise convolutions for the most part, are too short for cores that wait for
each other: there all of torch's threads work on one block (`affine_kernel`), in one pass if it is pointwise.

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, n frames of a block. Maps of a clip are n x C x H x W in
channels-last memory, one frame after the other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vared.acceleration.affine_kernel import AffineClip
from vared.acceleration.mix_kernel import mix_kernel
from vared.acceleration.onednn import add_depthwise_
from vared.acceleration.plan import ClipPlan, plan_clip
from vared.acceleration.workers import side_by_side
from vared.reconstruction import repeat_channels

# Output of a block, unless a period of frames is more. Small ones convolve less well, large ones keep cores waiting.
BLOCK_BYTES = 2**24


def execute_in_blocks(layer, clips: Tensor, temporal: Tensor, channel: Tensor) -> Tensor:
    """relu(scale * dynamic convolution + shift) of `layer`: B x C_in x T x H x W, V_t, V_c -> B x C x T x H x W.

    `layer` is one of `layers`. Raises ValueError when a gate opens nothing for a clip.
    """
    weights = list(zip(temporal.tolist(), channel.tolist(), strict=True))
    if layer.affine:
        plans = kernels = [AffineClip(layer, *of_clip) for of_clip in weights]
    else:
        plans = [plan_clip(layer, *of_clip) for of_clip in weights]
        kernels = [mix_kernel(plan) for plan in plans]
    frames, *pixels = layer.output_size(clips.shape[2:])
    shape = len(clips), layer.out_channels, frames, *pixels
    output = torch.empty(shape, dtype=clips.dtype, device=clips.device, memory_format=torch.channels_last_3d)

    def make(block: tuple[int, int, int]) -> None:
        number, begin, end = block
        plan = plans[number]
        out = output[number, :, begin:end].transpose(0, 1)
        if layer.affine and plan.reads_input:
            plan(clips[number, :, begin:end].transpose(0, 1), out)
            return
        kept = _convolve(layer, plan, clips[number : number + 1], begin, end)
        if kernels[number]:
            kernels[number](kept, out)
        else:
            _mix_frames(plan, _mix_channels(plan, kept), out)

    threads = 1 if layer.affine else torch.get_num_threads()  # else within a block
    parts = max(-(-threads // max(1, len(clips))), -(-output[:1].nbytes // BLOCK_BYTES))
    blocks = []
    for number, plan in enumerate(plans):
        span = plan.period * -(-frames // (plan.period * parts))
        blocks += [(number, begin, min(begin + span, frames)) for begin in range(0, frames, span)]
    if layer.affine:
        for block in blocks:
            make(block)
    else:
        side_by_side(make, blocks)
    return output


def _convolve(layer, plan: ClipPlan, clip: Tensor, begin: int, end: int) -> Tensor:
    """Kept channels and kept frames of the output frames begin ... end - 1 of 1 x C_in x T x H x W: n x K x H x W."""
    stride, pad, reach = layer.time_geometry
    last = begin + (end - 1 - begin) // plan.factor * plan.factor
    first, stop = begin * stride - pad, last * stride - pad + reach
    x = clip[:, : plan.channels_read, max(first, 0) : min(stop, clip.shape[2])]
    if first < 0 or stop > clip.shape[2]:
        x = F.pad(x, (0, 0, 0, 0, max(-first, 0), max(stop - clip.shape[2], 0)))
    return plan.convolution(x)[0].transpose(0, 1)


def _mix_channels(plan: ClipPlan, kept: Tensor) -> Tensor:
    """Channel mix, equation (3.1), over the plan's factor for each channel: n x K x H x W -> n x C x H x W.

    The factor is left to the frames' mix, which multiplies anyway: so computed channels are not touched here.
    """
    count, channels = kept.shape[1], plan.channels
    generated = {first: cheap(repeat_channels(kept[:, :first], channels - first)) for first, cheap in plan.generated}
    for first, maps in generated.items():
        if first < count:
            kept[:, first:].add_(maps[:, : count - first])
    if count == channels:
        return kept
    rest = [maps[:, count - first :] for first, maps in generated.items()]
    return torch.cat([kept, rest[0] if len(rest) == 1 else sum(rest)], 1)


def _mix_frames(plan: ClipPlan, maps: Tensor, out: Tensor) -> None:
    """Frame mix, equation (3.5), normalisation and ReLU: n x C x H x W -> `out`, n' x C x H x W."""
    frames = maps.split(1)
    for number, target in enumerate(out.split(1)):
        before, residue = divmod(number, plan.period)
        first = before * (plan.period // plan.factor)
        direct, terms = plan.residues[residue]
        if direct is not None:
            torch.addcmul(plan.shift, frames[first + residue // plan.factor], direct, out=target)
        for source, cheap, last in terms:
            x = frames[first + source]
            if cheap.kernel is not None and cheap.shift is None:
                add_depthwise_(target, x, cheap.kernel, relu=plan.relu and last)
                continue
            made = cheap(x) if cheap.sets else target.add_(cheap(x))
            if plan.relu and last:
                torch.clamp_min(made, 0, out=target)
            elif cheap.sets:
                target.copy_(made)
        if plan.relu and not terms:
            target.relu_()
