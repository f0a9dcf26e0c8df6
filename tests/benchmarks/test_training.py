"""A benchmark of training steps: steps train, and the record says how they compare."""

import copy
from pathlib import Path

import pytest
import torch

import vared
from vared.benchmarks import memory, training
from vared.benchmarks.cases import Case
from vared.benchmarks.subjects import fresh_clips

CASE = Case(
    name="test", network="r2plus1d_18", frames=4, crop_size=16, width=1 / 16, classes=4, batch=3, threads=1,
    repeats=2, trials=1, training=True,
)  # fmt: skip


@pytest.mark.parametrize("search_space", [None, 2, 3])
def test_a_step_moves_every_parameter_and_its_loss_is_both_losses(search_space, monkeypatch):
    networks = []
    fresh = training.fresh_network
    monkeypatch.setattr(training, "fresh_network", lambda *words: networks.append(fresh(*words)) or networks[-1])
    step = training.build_step(CASE, search_space, "channels-last")
    (model,) = networks
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        chance = twin(fresh_clips(CASE)).softmax(1)
    labels = torch.arange(3)
    expected = -chance[labels, labels].log().mean()
    if search_space is not None:
        macs = vared.count_flops(model, (3, 4, 16, 16)).dynamic_layers
        shares = sum(macs[name] * decided.cost for name, decided in vared.policy(twin).items()) / sum(macs.values())
        expected = expected + 0.8 * ((chance.argmax(1) == labels) * shares).square().mean()
    assert step().item() == pytest.approx(expected.item(), rel=1e-4)
    still = [name for name, parameter in model.named_parameters() if torch.equal(before[name], parameter)]
    assert still == []


def test_the_record_compares_with_the_static_network(monkeypatch):
    monkeypatch.setattr(memory, "in_child", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(training, "LAYOUTS", {"channels-last": torch.channels_last_3d})
    record = training.measure_training(CASE, Path())
    assert list(record["versions"]) == list(training.SEARCH_SPACES) and record["static"] == "static"
    static = record["versions"]["static"]
    for row in record["versions"].values():
        assert len(row["seconds"]) == 2 and row["layout"]["best"] in training.LAYOUTS
        assert row["relative_time"] == pytest.approx(row["median"] / static["median"])
        assert row["clips_per_second"] == pytest.approx(3 / row["median"])
