"""X3D-M by pytorchvideo's builder, with ReLU in place of swish (thesis section 4.2).

    clip -> 1x3x3, 5x1x1 depthwise (/1,2,2) -> stages of 3, 5, 11, 7 blocks (24, 48, 96, 192; each /1,2,2)
         -> 1x1x1 to 432 -> mean -> 2048 -> linear

    block: 1x1x1 expand, BN, ReLU -> 3x3x3 depthwise, BN, [squeeze-excite], ReLU -> 1x1x1 project, BN; + shortcut, ReLU

Module names are pytorchvideo's, so weights saved by it load as they are. The pooling of the head covers whatever map it
gets, not one fixed size.

Shapes: B clip, C channel, T frame, H W pixel. The strides divide H, W by 32, rounded up; T is kept.
"""

from torch import Tensor, nn

# What X3D-M needs to stay small (our reading): with a gate that sees every frame the gates alone have two thirds of
# the network's parameters, and a depthwise reconstruction costs a tenth of its operations.
DEFAULTS = {"cheap": "affine", "pool_time": True}
SWISH = ("none", "squeeze_excite", "blocks")


class X3D(nn.Module):
    """X3D for clips B x 3 x T x H x W -> logits B x num_classes. Any T, H, W. `net` is pytorchvideo's network."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.blocks = net.blocks

    def features(self, clips: Tensor) -> Tensor:
        """Map after the head's 1x1x1: B x 3 x T x H x W -> B x 432 x T x H/32 x W/32 (432 at full width)."""
        *body, head = self.blocks
        x = clips
        for block in body:
            x = block(x)
        return head.pool.pre_act(head.pool.pre_norm(head.pool.pre_conv(x)))

    def forward(self, clips: Tensor) -> Tensor:
        x = clips
        for block in self.blocks:
            x = block(x)
        return x


def build(*, num_classes: int, width: float = 1.0, swish: str = "none", dropout: float = 0.5) -> X3D:
    """X3D-M whose channel counts are multiplied by `width` and, as in pytorchvideo, rounded to multiples of 8.

    `swish`: where this nonlinearity is used. The thesis removes it "except those in SE layer", and pytorchvideo has
    none there: "none" is ReLU everywhere, "squeeze_excite" takes the sentence literally, "blocks" is the original
    X3D, swish after every depthwise convolution. Operations and parameters do not depend on it.
    `dropout` before the classifier is the original's; the thesis does not mention it.
    Raises ValueError for another value.
    """
    if swish not in SWISH:
        raise ValueError(f"swish must be one of {SWISH}, not {swish!r}.")
    # First, because pytorchvideo imports torchvision.
    import vared.torchvision_operators  # noqa: F401

    # isort: split
    from pytorchvideo.models.x3d import create_x3d

    net = create_x3d(
        model_num_class=num_classes,
        input_clip_length=1,  # this and the next only set the head's pooling, which is replaced
        input_crop_size=32,
        width_factor=2 * width,
        head_dim_out=max(1, round(2048 * width)),
        head_activation=None,
        dropout_rate=dropout,
        inner_act=nn.SiLU if swish == "blocks" else nn.ReLU,
    )
    net.blocks[-1].pool.pool = nn.AdaptiveAvgPool3d(1)
    _normalise_shortcuts(net)
    if swish == "squeeze_excite":
        _put_swish_into_squeeze_excite(net)
    return X3D(net)


def is_dynamic(name: str, conv: nn.Module) -> bool:
    """The 52 expand and project convolutions of the blocks, 80 % of the operations; each is followed by a BN.

    Squeeze-excite stays static: what a gate scales there would reach a sigmoid without normalisation.
    """
    return name.endswith((".branch2.conv_a", ".branch2.conv_c"))


def _normalise_shortcuts(net: nn.Module) -> None:
    """Give narrow networks the layers of the full one.

    The builder normalises a projected shortcut only where it changes the number of channels. That leaves out the
    first stage at any width, but a narrow network has equal widths in other stages too.
    """
    for stage in net.blocks[2:-1]:
        first = stage.res_blocks[0]
        if first.branch1_norm is None:
            first.branch1_norm = nn.BatchNorm3d(first.branch1_conv.out_channels)


def _put_swish_into_squeeze_excite(net: nn.Module) -> None:
    from pytorchvideo.models.x3d import SqueezeExcitation

    for module in net.modules():
        if isinstance(module, SqueezeExcitation):
            module.block[1] = nn.SiLU()
