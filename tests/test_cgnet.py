"""Channel gating: what a gate adds, which channels it looks at, what it costs, and what moves its threshold."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vared
from tests.method_helpers import tiny_r2plus1d
from tests.training_helpers import Clips, short_recipe, static_network
from vared.backbones import r2plus1d
from vared.baselines import cgnet
from vared.checkpoints import load_weights
from vared.optimization import parameter_groups
from vared.recalibration import recalibrate_batch_norm


def layer(conv=None, *, threshold=0.0, **settings):
    """A gated convolution in evaluation whose gate looks at the partial sum as it is."""
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 12, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)) if conv is None else conv
    kind = cgnet.ChannelGatedConv3d if isinstance(conv, nn.Conv3d) else cgnet.ChannelGatedConv2d
    return kind.from_conv(conv, threshold=threshold, **settings).eval()


def masked_weight(gated, groups, shuffle=True):
    """The weight with zeros outside the base path, from the definition: ShuffleNet's order, equal groups."""
    outputs, inputs = gated.weight.shape[:2]
    order = torch.arange(inputs).view(groups, inputs // groups)
    order = (order.T if shuffle else order).reshape(groups, inputs // groups)
    mask = torch.zeros(outputs, inputs)
    for group in range(groups):
        rows = range(group * outputs // groups, (group + 1) * outputs // groups)
        mask[[[row] for row in rows], order[group]] = 1
    return gated.weight * mask.view(outputs, inputs, *[1] * (gated.weight.dim() - 2))


@pytest.mark.parametrize("conv", [None, nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.Conv3d(9, 13, 3, padding=1)])
def test_all_gates_open_is_the_plain_convolution_exactly(conv):
    gated = layer(conv, threshold=-math.inf)
    x = torch.randn(2, gated.in_channels, *([3, 9, 9] if gated.weight.dim() == 5 else [9, 9]))
    assert torch.equal(gated(x), gated._conv_forward(x, gated.weight, gated.bias))
    assert gated.last_decision.cost.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_all_gates_shut_is_the_base_path_alone(groups, shuffle):
    gated, x = layer(threshold=math.inf, groups=groups, shuffle=shuffle), torch.randn(2, 8, 3, 9, 9)
    expected = F.conv3d(x, masked_weight(gated, groups, shuffle), gated.bias, gated.stride, gated.padding)
    torch.testing.assert_close(gated(x), expected)
    assert gated.last_decision.cost.tolist() == [1 / groups] * 2


def test_every_value_has_a_gate_of_its_own():
    gated, x = layer(threshold=0.3), torch.randn(2, 8, 3, 9, 9)
    gated.norm.running_mean.uniform_(-0.2, 0.2)
    gated.norm.running_var.uniform_(0.5, 2.0)
    partial = F.conv3d(x, masked_weight(gated, 4), gated.bias, gated.stride, gated.padding)
    full = F.conv3d(x, gated.weight, gated.bias, gated.stride, gated.padding)
    mean, var = (v.view(-1, 1, 1, 1) for v in (gated.norm.running_mean, gated.norm.running_var))
    opened = (partial - mean) / (var + 1e-5).sqrt() > 0.3
    torch.testing.assert_close(gated(x), torch.where(opened, full, partial))
    assert 0.05 < opened.float().mean() < 0.95
    torch.testing.assert_close(gated.last_decision.cost, 0.25 + 0.75 * opened.double().mean((1, 2, 3, 4)))


def test_groups_draw_evenly_on_the_groups_before():
    assert cgnet.channel_order(8, 4, shuffle=True) == [0, 2, 4, 6, 1, 3, 5, 7]
    assert cgnet.channel_order(8, 4, shuffle=False) == list(range(8))
    assert cgnet.channel_order(5, 2, shuffle=True) == [0, 3, 1, 4, 2]
    order = torch.tensor(cgnet.channel_order(64, 4, shuffle=True))
    for group in order.tensor_split(4):
        assert torch.bincount(group // 16).tolist() == [4, 4, 4, 4]


def test_every_input_channel_is_in_some_base_path_and_in_as_many_as_any_other():
    gated = layer(nn.Conv2d(16, 8, 1, bias=False), threshold=math.inf)
    uses = [(gated(F.one_hot(torch.tensor([c]), 16).float().view(1, 16, 1, 1)) != 0).sum().item() for c in range(16)]
    assert uses == [2] * 16


def test_cost_of_uneven_groups_worked_out_by_hand():
    # 5 inputs in 2 groups: 3 and 2. 3 outputs in 2 groups: 2 and 1. Shares of the base path 3/5, 3/5, 2/5.
    gated = layer(nn.Conv2d(5, 3, 1, bias=False), groups=2)
    nn.init.ones_(gated.weight)
    x = torch.ones(1, 5, 1, 2)
    x[..., 1] = -1  # both paths sum to 3, 3, 2 at the first pixel and to their negatives at the second
    gated.threshold.data = torch.tensor([0.0, 10.0, -10.0])  # opens one pixel, none, both
    values = gated(x)[0, :, 0].tolist()
    assert values == [[5, -3], [3, -3], [5, -5]]
    expected = ((3 / 5 + 2 / 5 * 1 / 2) + 3 / 5 + 1) / 3
    assert gated.last_decision.cost.item() == pytest.approx(expected)


def test_a_larger_threshold_never_costs_more():
    gated, x = layer(), torch.randn(4, 8, 3, 9, 9)
    costs = []
    for threshold in torch.linspace(-3, 3, 13):
        gated.threshold.data.fill_(threshold)
        gated(x)
        costs.append(gated.last_decision.cost)
    costs = torch.stack(costs)
    assert (costs.diff(dim=0) <= 0).all() and (costs[0] > costs[6]).all() and (costs[6] > costs[-1]).all()


@pytest.mark.parametrize("cost", [0.35, 0.6, 0.85])
def test_the_threshold_for_a_cost_gives_it_on_normal_sums(cost):
    gated = layer(nn.Conv2d(8, 8, 1, bias=False), threshold=cgnet.threshold_for(cost, 4))
    gated.train()(torch.randn(16, 8, 32, 32))
    assert gated.last_decision.cost.mean().item() == pytest.approx(cost, abs=0.01)


def test_the_gradient_reaches_the_threshold_as_that_of_a_sigmoid():
    gated = layer(nn.Conv2d(2, 2, 1, bias=False), groups=2, threshold=0.5, shuffle=False).double()
    x = torch.tensor([0.7, -0.4], dtype=torch.float64).view(1, 2, 1, 1)
    gated.norm.eps = 0.0
    gated(x).sum().backward()
    weight, threshold = gated.weight.detach().view(2, 2), 0.5
    for channel in range(2):
        partial = weight[channel, channel] * x[0, channel, 0, 0]
        rest = weight[channel, 1 - channel] * x[0, 1 - channel, 0, 0]
        soft = torch.sigmoid(2 * (partial - threshold))
        assert gated.threshold.grad[channel].item() == pytest.approx((-rest * 2 * soft * (1 - soft)).item())


def test_the_threshold_loss_by_hand_and_where_it_leads():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6))
    cgnet.convert_cgnet(model, where=lambda name, conv: True, threshold=0.5)
    assert cgnet.threshold_loss(model, 2.0).item() == pytest.approx(10 * 1.5**2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(40):
        optimizer.zero_grad()
        cgnet.threshold_loss(model, 2.0).backward()
        optimizer.step()
    assert all((part.threshold - 2.0).abs().max() < 1e-3 for part in cgnet.gated_layers(model).values())
    with pytest.raises(ValueError, match="convert_cgnet it first"):
        cgnet.threshold_loss(nn.Conv2d(4, 4, 1), 2.0)


def test_thresholds_train_without_weight_decay():
    model = cgnet.convert_cgnet(static_network(), where=lambda name, conv: name == "3")
    exempt = [p for group in parameter_groups(model, 5e-4) if group["weight_decay"] == 0 for p in group["params"]]
    assert [id(p) for p in exempt] == [id(model[3].threshold)]


def test_a_network_costs_its_static_layers_and_the_gated_share_of_the_others():
    model, clips = tiny_r2plus1d(search_space=0), torch.randn(3, 3, 8, 16, 16)
    plain = copy.deepcopy(model)
    cgnet.convert_cgnet(model, where=r2plus1d.is_dynamic)
    names = [name for name, conv in plain.named_modules() if r2plus1d.is_dynamic(name, conv)]
    assert list(cgnet.gated_layers(model)) == names and len(names) == 16
    added = {n for n, _ in model.named_parameters()} - {n for n, _ in plain.named_parameters()}
    assert added == {f"{name}.threshold" for name in names}
    report = vared.count_flops(model, (3, 8, 16, 16))
    assert report.static_layers == vared.count_flops(plain, (3, 8, 16, 16)).static_layers
    with torch.no_grad():
        recalibrate_batch_norm(model, [clips])
        model(clips)
        costs, shares = cgnet.clip_gmacs(model, report), [part.last_decision.cost for _, part in gates(model)]
        expected = report.static - sum(
            report.static_layers[name] * (1 - share) for name, share in zip(names, shares, strict=True)
        )
        torch.testing.assert_close(costs, expected)
        assert costs.unique().numel() == 3, "clips decide for themselves"
        for part in cgnet.gated_layers(model).values():
            part.threshold.data.fill_(-math.inf)
        torch.testing.assert_close(model(clips), plain_output(model, plain, clips))
        assert cgnet.clip_gmacs(model, report).tolist() == pytest.approx([report.static] * 3)


def gates(model):
    return cgnet.gated_layers(model).items()


def plain_output(model, plain, clips):
    """The plain network with the weights and statistics of the gated one, by the names they share."""
    weights = {name: value for name, value in model.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(weights)
    return plain(clips)


def test_it_trains_in_the_common_loop(tmp_path):
    model = cgnet.convert_cgnet(static_network(), where=lambda name, conv: name == "3", groups=2)
    before = model[3].threshold.detach().clone()
    result = vared.fit(model, Clips(), short_recipe(), directory=tmp_path, progress=False)
    assert result.weights.exists() and (model[3].threshold != before).all()
    found = cgnet.convert_cgnet(static_network(), where=lambda name, conv: name == "3", groups=2)
    load_weights(found, result.weights)
    clips = Clips().clips
    assert torch.equal(found.eval()(clips), model.eval()(clips))


def test_a_step_reaches_every_parameter():
    model = cgnet.convert_cgnet(tiny_r2plus1d(search_space=0), where=r2plus1d.is_dynamic).train()
    F.cross_entropy(model(torch.randn(4, 3, 8, 16, 16)), torch.arange(4)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize(
    ("conv", "settings", "message"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), {}, "layer '0' cannot be channel-gated in 4 groups"),
        (nn.Conv2d(3, 8, 3), {}, "layer '0' cannot be channel-gated in 4 groups"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), {}, "zero padding"),
        (nn.Conv2d(8, 8, 3), {"groups": 1}, "in 1 groups"),
        (nn.Linear(8, 8), {}, "selects no convolution"),
    ],
)
def test_what_cannot_be_gated_is_refused_by_name(conv, settings, message):
    model = nn.Sequential(conv)
    with pytest.raises(ValueError, match=message):
        cgnet.convert_cgnet(model, where=lambda name, conv: True, **settings)
    assert model[0] is conv


def test_a_cost_below_the_base_path_is_refused():
    with pytest.raises(ValueError, match="from 0.25 to 1"):
        cgnet.threshold_for(0.2, 4)
