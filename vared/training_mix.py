"""Both mixes of `reconstruction` as one step of automatic differentiation, for training.

The same function as `mix_frames(mix_channels(F))` with all candidates. On large maps a mix is memory traffic, not
arithmetic: so F, the gate's weights and the cheap weights are all that is kept for the backward pass, which generates
the other maps again, and both passes work through the batch in parts that stay in the processor's cache.

A map that candidate i keeps is kept by all before it: computed maps are weighted by V[0] + ... + V[i], generated ones
by V[i].

Shapes: B clip, C channel, T frame, H W pixel, K kept channels, S candidates; n clips and t frames of a part.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vared.cheap_terms import add_generated, clip_sums, map_sums, pull_back
from vared.gate import without_autocast
from vared.reconstruction import repeat_channels

PART_BYTES = 4 * 2**20  # of F in a part, on a CPU: four to six maps of that size are in use at a time


def mix(layer: nn.Module, full: Tensor, channel: Tensor, temporal: Tensor) -> Tensor:
    """Equations (3.1) and (3.5) for F = `full` (B x C x T x H x W), V_c (B x S_c), V_t (B x S_t); same shape out.

    Can be differentiated once: RuntimeError for a gradient of a gradient.
    """
    if temporal.shape[1] == 1:  # there is nothing to mix in time, and the one weight joins those of the channels
        channel = channel * temporal
    operations = [*layer.cheap_channel, *(step for steps in layer.cheap_temporal for step in steps)]
    parameters = [parameter for operation in operations for parameter in operation.parameters()]
    candidates = layer.kept_channels, layer.temporal_factors, len(parameters) // len(operations)
    return _Mix.apply(full, channel, temporal, candidates, *parameters)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx, full, channel, temporal, candidates, *parameters):
        with without_autocast(full.device):
            mixes = _Mixes(full, channel, temporal, candidates, parameters)
            output, mixed = torch.empty_like(full), None
            for part in mixes.parts():
                mixed = mixes.mix_channels(part, None if mixes.in_time else output)
                if mixes.in_time:
                    mixes.mix_frames(part, mixed, output)
        # Small maps are kept mixed: that costs little memory, and generating them again is many small steps.
        mixed = mixed if full.nbytes <= PART_BYTES and mixes.in_time else None
        ctx.save_for_backward(full, channel, temporal, mixed, *parameters)
        ctx.candidates = candidates
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        full, channel, temporal, kept_mixed, *parameters = ctx.saved_tensors
        layout = torch.channels_last_3d if full.stride(1) == 1 else torch.contiguous_format
        grad, grad_full = grad.contiguous(memory_format=layout), torch.empty_like(full)
        mixes = _Mixes(full, channel, temporal, ctx.candidates, parameters)
        for part in mixes.parts():
            grad_mixed = grad[part]
            if mixes.in_time:
                mixed = mixes.mix_channels(part) if kept_mixed is None else kept_mixed
                grad_mixed = mixes.frames_backward(part, mixed, grad_mixed)
            mixes.channels_backward(part, grad_mixed, grad_full[part])
        return grad_full, *mixes.grad_weights(), None, *mixes.grad_parameters


class _Mixes:
    """The two mixes of one layer and batch, part by part, and the gradients gathered on the way back."""

    def __init__(self, full: Tensor, channel: Tensor, temporal: Tensor, candidates: tuple, parameters: tuple):
        self.kept, self.factors, each = candidates
        self.full, self.parameters_each = full, each
        cast = [parameter.to(full.dtype) for parameter in parameters]
        operations = len(self.kept) - 1 + sum(factor - 1 for factor in self.factors)
        self.operations = [cast[number * each : (number + 1) * each] for number in range(operations)]
        self.in_time = len(self.factors) > 1
        self.grad_parameters = [torch.zeros_like(parameter) for parameter in parameters]
        self.v_c, self.v_t = (v.to(full.dtype)[:, :, None, None, None, None] for v in (channel, temporal))
        sum_c, sum_t = (v.to(torch.promote_types(v.dtype, full.dtype)).cumsum(1) for v in (channel, temporal))
        self.sum_t = sum_t.to(full.dtype)[:, :, None, None, None, None]
        # Channels of F between two kept counts are computed for the same candidates; the fewest are kept by all.
        sums = sum_c.to(full.dtype).split(1, 1)[::-1]
        self.widths = [count - fewer for count, fewer in zip(self.kept, (*self.kept[1:], 0), strict=True)][::-1]
        direct = [v.expand(-1, width) for v, width in zip(sums, self.widths, strict=True)]
        self.direct_c = torch.cat(direct, 1)[:, :, None, None, None]
        # Gradients of V where it weighs a generated map, and of the sums of V
        self.grad_c, self.grad_t = ([torch.zeros_like(v) for _ in range(2)] for v in (channel, temporal))

    def parts(self) -> Iterator[tuple[slice, slice, slice]]:
        """Index of each part of F: clips, all channels, frames. The first frame is one that every candidate keeps."""
        (clips, _, frames), period = self.full.shape[:3], self.factors[-1]
        size = self.full.nbytes
        clips_each, frames_each = max(clips, 1), max(frames, 1)
        if self.full.device.type == "cpu" and size > PART_BYTES:
            clips_each = max(1, PART_BYTES * clips // size)
            if clips_each == 1:
                frames_each = period * max(1, PART_BYTES * clips * frames // (size * period))
        for clip in range(0, clips, clips_each):
            for frame in range(0, frames, frames_each):
                yield slice(clip, clip + clips_each), slice(None), slice(frame, frame + frames_each)

    def mix_channels(self, part: tuple, output: Tensor | None = None) -> Tensor:
        """Equation (3.1) for a part, into that of `output` when given: n x C x t x H x W."""
        clips, full = part[0], self.full[part]
        mixed = torch.empty_like(full) if output is None else output[part]
        torch.mul(full, self.direct_c[clips], out=mixed)
        for i, count in enumerate(self.kept[1:], 1):
            x = repeat_channels(full[:, :count], full.shape[1] - count)
            add_generated(mixed[:, count:], x, [self.v_c[clips, i]], [self.operations[i - 1]])
        return mixed

    def mix_frames(self, part: tuple, mixed: Tensor, output: Tensor) -> None:
        """Equation (3.5) for a part, into that of `output`."""
        clips, output = part[0], output[part]
        for residue, last, generated in self._phases(output.shape[2]):
            target = self._phase(output, residue)
            torch.mul(self._phase(mixed, residue), self.sum_t[clips, last], out=target)
            for source, terms in generated.items():
                operations = [self.operations[number] for _, number in terms]
                x = self._phase(mixed, source, target.shape[2])
                add_generated(target, x, [self.v_t[clips, j] for j, _ in terms], operations)

    def frames_backward(self, part: tuple, mixed: Tensor, grad: Tensor) -> Tensor:
        """Gradient of a part's `mixed` maps from that of its output."""
        clips, (generated_t, sums_t), grad_mixed = part[0], self.grad_t, torch.empty_like(mixed)
        for residue, last, generated in self._phases(grad.shape[2]):
            grad_phase = self._phase(grad, residue)
            torch.mul(grad_phase, self.sum_t[clips, last], out=self._phase(grad_mixed, residue))
            sums_t[clips, last].add_(clip_sums(grad_phase * self._phase(mixed, residue)))
            for source, terms in generated.items():
                x, grad_x = (self._phase(maps, source, grad_phase.shape[2]) for maps in (mixed, grad_mixed))
                operations, gradients = zip(*(self._with_gradients(number) for _, number in terms), strict=True)
                weights = [self.v_t[clips, j] for j, _ in terms]
                inner = pull_back(grad_phase, x, grad_x, weights, operations, gradients)
                for (j, _), of_candidate in zip(terms, inner, strict=True):
                    generated_t[clips, j].add_(of_candidate)
        return grad_mixed

    def channels_backward(self, part: tuple, grad: Tensor, grad_full: Tensor) -> None:
        """Gradient of a part of F from that of its mixed maps, into `grad_full`."""
        clips, full, (generated_c, sums_c) = part[0], self.full[part], self.grad_c
        torch.mul(grad, self.direct_c[clips], out=grad_full)
        inner = map_sums(grad * full).split(self.widths, 1)[::-1]
        for i, of_channels in enumerate(inner):
            sums_c[clips, i].add_(of_channels.sum(1))
        for i, count in enumerate(self.kept[1:], 1):
            x, operation = repeat_channels(full[:, :count], full.shape[1] - count), self._with_gradients(i - 1)
            weights = [self.v_c[clips, i]]
            (inner,) = pull_back(grad[:, count:], x, grad_full[:, :count], weights, *([part] for part in operation))
            generated_c[clips, i].add_(inner)

    def grad_weights(self) -> Iterator[Tensor]:
        """Gradients of V_c and V_t: V[i] is in its own term and in the sums of i and all after it."""
        for generated, sums in (self.grad_c, self.grad_t):
            yield generated + sums.flip(1).cumsum(1).flip(1)

    def _phases(self, frames: int) -> Iterator[tuple[int, int, dict[int, list[tuple[int, int]]]]]:
        """For frames n R_max + residue: residue, last candidate to keep them, {source: [(candidate, operation)]}."""
        for residue in range(min(self.factors[-1], frames)):
            first, generated = len(self.kept) - 1, {}  # number of the candidate's first operation
            for j, factor in enumerate(self.factors[1:], 1):
                if offset := residue % factor:
                    generated.setdefault(residue - offset, []).append((j, first + offset - 1))
                first += factor - 1
            yield residue, sum(residue % factor == 0 for factor in self.factors) - 1, generated

    def _phase(self, x: Tensor, residue: int, count: int | None = None) -> Tensor:
        return x[:, :, residue :: self.factors[-1]][:, :, :count]

    def _with_gradients(self, number: int) -> tuple[list[Tensor], list[Tensor]]:
        each = self.parameters_each
        return self.operations[number], self.grad_parameters[number * each : (number + 1) * each]
