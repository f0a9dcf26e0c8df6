"""Which convolutions the default takes, and predicates that choose others."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vared
from tests.method_helpers import dynamic_layers
from vared.observation import observe
from vared.selection import (
    all_of,
    any_of,
    default_where,
    depthwise,
    named,
    not_,
    pointwise,
    reason_against,
    spatial,
    temporal,
)

IMAGE = (3, 16, 16)


def conv(before, after, kernel=3, **settings):
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **settings)


class Block(nn.Module):
    """A residual block in which every rule of the default has a case. Names say nothing on purpose."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.a, self.a_norm = conv(before, after), nn.BatchNorm2d(after)
        self.b, self.b_norm = conv(after, after, groups=after), nn.BatchNorm2d(after)
        self.c, self.d = nn.Conv2d(after, 8, 1), nn.Conv2d(8, after, 1)  # squeeze-excite
        self.e, self.e_norm = conv(after, after, 1), nn.BatchNorm2d(after)
        self.f, self.f_norm = (conv(before, after, 1), nn.BatchNorm2d(after)) if before != after else (None, None)

    def forward(self, x):
        y = self.b_norm(self.b(self.a_norm(self.a(x)).relu()))
        y = y * self.d(self.c(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return F.relu(self.e_norm(self.e(y)) + (x if self.f is None else self.f_norm(self.f(x))))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 20), nn.BatchNorm2d(20), nn.ReLU(), conv(20, 20), nn.BatchNorm2d(20))
        self.first, self.second = Block(20, 20), Block(20, 24)
        self.change = nn.Sequential(conv(24, 32, stride=2), nn.BatchNorm2d(32))
        self.third = Block(32, 32)
        self.head = nn.Sequential(conv(32, 40, 1), nn.BatchNorm2d(40))

    def forward(self, x):
        return self.head(self.third(self.change(self.second(self.first(self.stem(x)))))).mean((2, 3))


def reasons(model: nn.Module, example=IMAGE) -> dict[str, str | None]:
    layers = dict(model.named_modules())
    return {name: reason_against(layers[name], seen) for name, seen in observe(model, example).items()}


def test_the_default_is_what_residual_blocks_compute():
    found = reasons(Network())
    taken = [name for name, reason in found.items() if reason is None]
    assert taken == ["first.a", "first.e", "second.a", "second.e", "change.0", "third.a", "third.e"]
    assert found["stem.0"] == "has 3 input channels, as images have"
    assert found["stem.3"] == found["head.0"] == "lies before the first or after the last residual block"
    assert found["second.f"] == "is the shortcut of a residual block"
    assert found["first.c"] == "reads globally pooled maps"
    assert found["first.d"] == "costs 8 MACs a value, too few to be worth rebuilding"
    assert found["first.b"] == "costs 9 MACs a value, too few to be worth rebuilding"


@pytest.mark.parametrize("side", [4, 8, 64])
def test_the_choice_does_not_depend_on_the_crop(side):
    assert reasons(Network(), (3, side, side)) == reasons(Network())


@pytest.mark.parametrize("frozen", [False, True])
def test_the_choice_does_not_depend_on_mode_gradients_or_device(frozen):
    model = Network().train().requires_grad_(not frozen)
    expected = reasons(Network())
    with torch.no_grad():
        assert reasons(model) == expected
    with torch.inference_mode():
        assert reasons(model, torch.randn(IMAGE)) == expected
    with torch.device("meta"):
        assert reasons(Network()) == expected


def test_looking_at_a_network_changes_nothing():
    model, example = Network().train(), torch.randn(IMAGE)
    model.first.eval()
    modes, state = [m.training for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    kept = example.clone()
    observe(model, example)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(example, kept) and not example.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_residual_blocks_every_normalised_convolution_is_taken():
    model = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), conv(8, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), nn.ReLU(),
        conv(8, 8), nn.Identity(), nn.GroupNorm(2, 8),
    )  # fmt: skip
    found = reasons(model)
    assert [name for name, reason in found.items() if reason is None] == ["2", "7"]
    assert found["5"] == "is not followed by a normalisation, which its gate's scale needs"


def test_a_container_whose_name_mentions_a_norm_is_no_normalisation():
    class ConvNorm(nn.Sequential):
        pass

    model = nn.Sequential(conv(8, 8), ConvNorm(conv(8, 8), nn.BatchNorm2d(8)))
    found = reasons(model, (8, 9, 9))
    assert found["0"].startswith("is not followed by a normalisation") and found["1.0"] is None


def test_an_addition_in_place_into_a_part_of_a_tensor_ends_a_block_too():
    class Slices(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.norm0 = conv(3, 8), nn.BatchNorm2d(8)
            self.a, self.norm1, self.b, self.norm2 = conv(8, 8), nn.BatchNorm2d(8), conv(8, 16), nn.BatchNorm2d(16)
            self.shortcut, self.norm3 = conv(8, 8), nn.BatchNorm2d(8)

        def forward(self, x):
            x = self.norm0(self.before(x))
            y = self.norm2(self.b(self.norm1(self.a(x))))[:, :8]
            y += self.norm3(self.shortcut(x))
            return y

    found = reasons(Slices())
    assert found["a"] is found["b"] is None and found["shortcut"] == "is the shortcut of a residual block"


def test_branches_that_are_fused_are_no_shortcuts():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = ([], [])
            self.left = nn.Sequential(*[layer for _ in range(4) for layer in (conv(8, 8), nn.BatchNorm2d(8))])
            self.right = nn.Sequential(*[layer for _ in range(3) for layer in (conv(8, 8), nn.BatchNorm2d(8))])

        def forward(self, x):
            return self.left(x) + self.right(x)

    assert set(reasons(Fused(), (8, 9, 9)).values()) == {None}


def test_adding_a_parameter_or_an_input_to_itself_is_no_residual_block():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.shift = conv(8, 8), nn.BatchNorm2d(8), nn.Parameter(torch.zeros(8, 1, 1))

        def forward(self, x):
            y = self.norm(self.conv(x)) + self.shift
            return y + y

    assert reasons(Shifted(), (8, 9, 9)) == {"conv": None}


def test_costs_decide_about_depthwise_and_narrow_convolutions():
    kept = {
        "7x7 depthwise": conv(40, 40, 7, groups=40),
        "pointwise of 18": conv(18, 40, 1),
        "3x3 in groups of 2": conv(40, 40, groups=20),
    }
    left = {
        "5x5 depthwise": conv(40, 40, 5, groups=40),
        "pointwise of 17": conv(17, 40, 1),
        "3x3 depthwise with two outputs": conv(40, 80, groups=40),
    }
    for name, layer in {**kept, **left}.items():
        model = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))
        (reason,) = reasons(model, (layer.in_channels, 9, 9)).values()
        assert (reason is None) == (name in kept), name


def test_another_padding_than_zeros_is_left_alone():
    model = nn.Sequential(conv(8, 8, padding_mode="reflect"), nn.BatchNorm2d(8))
    assert reasons(model, (8, 9, 9)) == {"0": "pads with padding_mode='reflect'"}


def test_temporal_convolutions_are_left_alone():
    model = nn.Sequential(
        nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 3), nn.BatchNorm3d(8)
    )
    assert reasons(model, (8, 4, 9, 9)) == {"0": "sees several frames of one pixel", "2": None}


def test_the_default_can_be_combined():
    model = Network()
    default = default_where(model, example=IMAGE)
    where = any_of(all_of(default, not_(pointwise), not_(named("first.", "third."))), named("head"))
    vared.convert(model, example=IMAGE, where=where)
    assert list(dynamic_layers(model)) == ["second.a", "change.0", "head.0"]


def test_predicates():
    shapes = {"space": (1, 3, 3), "both": (3, 3, 3), "one": (1, 1, 1), "time": (5, 1, 1), "row": (1, 1, 3)}
    convs = {name: nn.Conv3d(4, 8, kernel) for name, kernel in shapes.items()}

    def chosen(predicate):
        return [name for name, layer in convs.items() if predicate(name, layer)]

    assert chosen(spatial) == ["space", "both", "row"]
    assert chosen(pointwise) == ["one"] and chosen(temporal) == ["time"]
    assert chosen(any_of(pointwise, temporal)) == ["one", "time"]
    assert chosen(all_of(spatial, named("o"))) == ["both", "row"]
    assert chosen(not_(named("space", "time"))) == ["both", "one", "row"]
    assert depthwise("", nn.Conv2d(4, 8, 3, groups=4)) and not depthwise("", nn.Conv2d(4, 8, 3, groups=2))
    assert not depthwise("", nn.Conv2d(1, 8, 3))


@pytest.mark.filterwarnings("ignore:.*(jit.script|saved_variables):DeprecationWarning")
@pytest.mark.parametrize("name", ["r2plus1d_18", "x3d_m", "tsn_resnet50"])
def test_the_default_finds_the_layers_that_the_thesis_makes_dynamic(name):
    sizes = {"num_classes": 5, "num_frames": 8, "crop_size": 64}
    with torch.device("meta"):
        plain = vared.create_model(name, **sizes)
        thesis = dynamic_layers(vared.create_model(name, **sizes, dynamic=True)).keys()
        taken = dynamic_layers(vared.convert(plain, example=(3, 8, 64, 64))).keys()
    assert taken == thesis


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_a_network_with_nothing_to_convert_says_why():
    import_module("vared.torchvision_operators")
    model = import_module("timm").create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    with pytest.raises(ValueError, match=r"'patch_embed\.proj' has 3 input channels, as images have.*where="):
        vared.convert(model, example=(3, 32, 32))


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_squeeze_excite_with_a_normalisation_of_its_own_stays_static():
    import_module("vared.torchvision_operators")
    model = import_module("timm").create_model("resnest14d")
    found = reasons(model, (3, 32, 32))
    assert found["layer4.0.conv2.fc1"] == "reads globally pooled maps"
    assert sum(reason is None for reason in found.values()) == 3 * 4  # four bottlenecks
