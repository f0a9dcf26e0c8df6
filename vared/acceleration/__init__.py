"""Dynamic networks made fast for inference: the same function as `execution`, in fewer passes over memory.

network (fold what follows convolutions) -> layers (dynamic convolution + norm + ReLU) -> blocks (a block of frames on
each core) -> plan (what a clip's decision needs), onednn (convolutions), mix_kernel (all the rest in one pass; where
cheap operations are affine, affine_kernel, without a plan); compiling (of the C code)
"""

from vared.acceleration.network import accelerate

__all__ = ["accelerate"]
