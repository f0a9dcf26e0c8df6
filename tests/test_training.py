"""Two-phase training: what it optimises, its learning rates and groups, and that runs repeat and resume exactly."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import vared
from tests.training_helpers import CLIP, Clips, digest, dynamic_network, short_recipe, static_network
from vared.batches import TrainingBatches
from vared.history import EpochMeter, nominal_cost
from vared.optimization import Phase, build_optimizer, build_schedule, parameter_groups
from vared.recalibration import recalibrate_batch_norm
from vared.training import fit


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


def test_a_network_learns_eight_clips_by_heart(tmp_path):
    recipe = short_recipe(epochs=30, finetune_epochs=2, efficiency_weight=0.0, recalibration_clips=8)
    network = dynamic_network()
    result = fit(network, Clips(8), recipe, directory=tmp_path, progress=False)
    assert result.history["train_accuracy"].iloc[-1] == 100.0
    assert result.history["accuracy_loss"].iloc[-1] < 0.1
    assert vared.evaluate(network, Clips(8)).metrics["clip1_top1"] == 100.0


def test_phase_two_saves_computation_and_phase_one_does_not(tmp_path):
    recipe = short_recipe(epochs=12, finetune_epochs=25, finetune_learning_rate=0.2, efficiency_weight=2.0)
    history = fit(dynamic_network(), Clips(16), recipe, directory=tmp_path, progress=False).history
    after_one, after_two = (history[history["phase"] == number].iloc[-1] for number in (1, 2))
    assert after_one["mean_cost"] > 0.9
    assert after_two["mean_cost"] < 0.7
    assert after_two["min_cost"] <= after_two["mean_cost"] <= after_two["max_cost"]
    assert after_two["loss"] == pytest.approx(after_two["accuracy_loss"] + 2.0 * after_two["efficiency_loss"])


def test_phase_one_has_no_gradient_of_the_efficiency_loss(tmp_path):
    for name, weight in (("none", 0.0), ("much", 5.0)):
        recipe = short_recipe(efficiency_weight=weight)
        fit(dynamic_network(), Clips(), recipe, directory=tmp_path / name, progress=False)
    assert digest(tmp_path / "none" / "phase1.safetensors") == digest(tmp_path / "much" / "phase1.safetensors")
    assert digest(tmp_path / "none" / "weights.safetensors") != digest(tmp_path / "much" / "weights.safetensors")


@pytest.mark.hazard("numerics", "same seed", "same weights, to the last bit")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(7)  # whatever the caller drew before
        recipe = short_recipe(seed=seed)
        digests.append(digest(fit(dynamic_network(0.3), Clips(), recipe, directory=tmp_path / name).weights))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", [static_network, dynamic_network])
@pytest.mark.parametrize("fail_at", [17, 42, 61], ids=["between_epochs", "between_updates", "at_the_end"])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, kind, fail_at):
    recipe = short_recipe(seed=5)
    whole = fit(kind(0.3), Clips(20), recipe, directory=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        fit(
            kind(0.3), Clips(20, fail_at=fail_at), recipe, directory=tmp_path / "killed", progress=False,
            checkpoint_seconds=0,
        )  # fmt: skip
    torch.rand(11)
    resumed_clips = Clips(20)
    resumed = fit(kind(0.3), resumed_clips, recipe, directory=tmp_path / "killed", progress=False)
    assert digest(resumed.weights) == digest(whole.weights)
    assert len(resumed_clips.fetched) < 16 * 3 + 20  # it did not start anew
    timeless = [name for name in whole.history if name != "seconds"]
    pd.testing.assert_frame_equal(resumed.history[timeless], whole.history[timeless], check_exact=True)
    curves = tmp_path / "killed" / "curves" / "plots" / "metrics" / "accuracy_loss.tsv"
    if curves.exists():  # dvclive refuses a git repository without a commit
        assert len(pd.read_csv(curves, sep="\t")) == 3


def test_a_finished_run_is_not_trained_again(tmp_path):
    clips = Clips()
    first = fit(dynamic_network(), clips, short_recipe(), directory=tmp_path, progress=False)
    before, fetched = digest(first.weights), len(clips.fetched)
    again = fit(dynamic_network(), clips, short_recipe(), directory=tmp_path, progress=False)
    assert digest(again.weights) == before
    assert again.cost_before == first.cost_before
    assert len(clips.fetched) - fetched <= 16 + 1  # recalibration, and one clip for its shape


@pytest.mark.hazard("checkpoints", "state of another run", "refused, with what differs")
def test_a_directory_of_another_recipe_is_refused(tmp_path):
    fit(static_network(), Clips(), short_recipe(), directory=tmp_path, progress=False)
    with pytest.raises(ValueError, match="another recipe"):
        fit(static_network(), Clips(), short_recipe(epochs=3), directory=tmp_path, progress=False)
    with pytest.raises(ValueError, match="another clips"):
        fit(static_network(), Clips(24), short_recipe(), directory=tmp_path, progress=False)
    with pytest.raises(ValueError, match="another network"):
        fit(dynamic_network(), Clips(), short_recipe(), directory=tmp_path, progress=False)


@pytest.mark.hazard("numerics", "numerics of the wrapper", "bit-equal to a bare loop")
@pytest.mark.parametrize("gradient_norm", [None, 0.5])
def test_training_equals_a_bare_loop_bit_for_bit(tmp_path, gradient_norm):
    recipe = short_recipe(
        epochs=1, warmup_epochs=0, finetune_epochs=1, recalibration_clips=0, channels_last=False,
        gradient_norm=gradient_norm,
    )  # fmt: skip
    clips, network = Clips(24), dynamic_network()
    bare = copy.deepcopy(network)
    fit(network, clips, recipe, directory=tmp_path, progress=False)
    efficiency = vared.EfficiencyLoss(vared.count_flops(bare, CLIP).dynamic_layers)
    decayed = [p for name, p in bare.named_parameters() if ".gate." not in name]
    exempt = [p for name, p in bare.named_parameters() if ".gate." in name]
    bare.train()
    for epoch, (peak, weight) in enumerate([(0.1, 0.0), (0.05, 0.8)]):
        groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": exempt, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=peak, momentum=0.9, nesterov=True, foreach=False)
        order = TrainingBatches(clips, 8, seed=0).order(epoch)
        for k in range(3):
            for group in optimizer.param_groups:
                group["lr"] = 0.5 * peak * (1 + math.cos(math.pi * k / 3))
            labels = clips.labels[order[k]]
            logits = bare(clips.clips[order[k]])
            loss = torch.nn.functional.cross_entropy(logits, labels)
            loss = loss + weight * efficiency(vared.policy(bare), logits.argmax(1) == labels)
            optimizer.zero_grad()
            loss.backward()
            if gradient_norm is not None:
                assert torch.nn.utils.clip_grad_norm_(bare.parameters(), gradient_norm) > gradient_norm
            optimizer.step()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, bare.state_dict()[name]), name


@pytest.mark.parametrize("warmup", [0, 2.5, 4])
def test_the_learning_rate_of_every_update_follows_the_formula(warmup):
    phase = Phase(1, 0, 6, 0.4, warmup, 0.02, 0.0)
    optimizer = build_optimizer(static_network(), phase, momentum=0.9, weight_decay=0.1)
    schedule = build_schedule(optimizer, phase, updates_per_epoch=4)
    total, ramp = 24, round(warmup * 4)
    for k in range(total):
        schedule.step_update(k)
        expected = (
            0.02 + (0.4 - 0.02) * k / ramp
            if k < ramp
            else 0.5 * 0.4 * (1 + math.cos(math.pi * (k - ramp) / (total - ramp)))
        )
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([expected])


def test_rates_scale_with_the_batch_unless_absolute():
    thesis = vared.Recipe(batch_size=64)
    assert thesis.phase(1).learning_rate == pytest.approx(0.010, rel=0.01)
    assert thesis.phase(2).learning_rate == pytest.approx(0.00056, rel=0.01)
    assert thesis.phase(1).warmup_learning_rate == pytest.approx(0.01 / 18)
    assert vared.Recipe(batch_size=64, reference_batch=None).phase(1).learning_rate == 0.18
    assert thesis.phase(2).warmup_epochs == 0 and vared.Recipe(finetune_warmup_epochs=3).phase(2).warmup_epochs == 3
    assert (thesis.phase(1).efficiency_weight, thesis.phase(2).efficiency_weight) == (0.0, 0.8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"epochs": -1}, "epochs of at least 0"), ({"batch_size": 0}, "batch_size above 0"),
     ({"gradient_norm": 0}, "gradient_norm above 0"),
     ({"epochs": 3, "warmup_epochs": 3}, "inside the 3 epochs of phase 1"),
     ({"finetune_epochs": 2, "finetune_warmup_epochs": 2}, "inside the 2 epochs of phase 2")],
)  # fmt: skip
def test_a_recipe_that_cannot_train_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        vared.Recipe(**wrong)


def test_gates_have_no_weight_decay_and_all_else_has():
    network = dynamic_network()
    gates = {id(p) for name, p in network.named_parameters() if ".gate." in name}
    decayed, exempt = parameter_groups(network, 0.3)
    assert gates and {id(p) for p in exempt["params"]} == gates
    assert len(decayed["params"]) + len(exempt["params"]) == len(list(network.parameters()))
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.3, 0.0)
    assert len(parameter_groups(static_network(), 0.3)) == 1


def test_gates_learn_at_their_own_rate_in_each_phase():
    recipe = vared.Recipe(
        epochs=2, warmup_epochs=0, batch_size=8, reference_batch=None, learning_rate=0.4, finetune_learning_rate=0.2,
        gate_rate_factor=0.1, finetune_gate_rate_factor=3.0, finetune_epochs=1,
    )  # fmt: skip
    for number, rest, gate in ((1, 0.4, 0.04), (2, 0.2, 0.6)):
        optimizer = build_optimizer(dynamic_network(), recipe.phase(number), momentum=0.9, weight_decay=0.1)
        build_schedule(optimizer, recipe.phase(number), 5).step_update(0)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rest, gate])


def test_order_depends_on_seed_and_epoch_only_and_processes_share_each_batch():
    clips = Clips(22)
    one = TrainingBatches(clips, 8, seed=1)
    assert len(one) == 2
    assert (one.order(0) == TrainingBatches(clips, 8, seed=1, workers=2).order(0)).all()
    assert (one.order(0) != one.order(1)).any() and (one.order(0) != TrainingBatches(clips, 8, seed=2).order(0)).any()
    shares = [
        [item["index"].tolist() for item in TrainingBatches(clips, 8, 1, rank=rank, processes=2).epoch(3)]
        for rank in (0, 1)
    ]
    assert [a + b for a, b in zip(*shares, strict=True)] == one.order(3).tolist()
    assert [item["index"].tolist() for item in one.epoch(3, first=1)] == one.order(3)[1:].tolist()
    assert clips.epochs == [3, 3, 3]


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="A batch of 8 needs as many clips, but the training set has 4"):
        TrainingBatches(Clips(4), 8, 0)
    with pytest.raises(ValueError, match="shared evenly by 3"):
        TrainingBatches(Clips(16), 8, 0, processes=3)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state(tmp_path):
    clips = Clips(16)
    clips.clips[int(TrainingBatches(clips, 8, 0).order(1)[0, 0])] = float("nan")
    recipe = short_recipe(epochs=2, warmup_epochs=0)
    clips.clips, poisoned = torch.nan_to_num(clips.clips), clips.clips
    clips.set_epoch = lambda epoch: setattr(clips, "clips", poisoned) if epoch == 1 else None
    with pytest.raises(FloatingPointError, match="phase 1 after 2 updates"):
        fit(static_network(), clips, recipe, directory=tmp_path, progress=False)
    weights = load_file(tmp_path / "state" / "0000000002" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_recalibration_measures_the_mean_over_batches_and_restores_the_modes():
    network = static_network(dropout=0.9)
    batches = [torch.randn(4, *CLIP) + shift for shift in (0.0, 3.0)]
    network.eval()
    recalibrate_batch_norm(network, batches)
    convolved = [network[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    torch.testing.assert_close(network[1].running_mean, torch.stack([c.mean(1) for c in convolved]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([c.var(1) for c in convolved]).mean(0))
    assert network[1].momentum == 0.1 and not any(module.training for module in network.modules())
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate_batch_norm(network, [])


def test_history_rows_equal_costs_counted_by_hand():
    network = dynamic_network()
    macs = vared.count_flops(network, CLIP).dynamic_layers
    first, second = macs
    # Clip 0 runs everything; clip 1 half the frames and half the channels of the first layer.
    everything = torch.eye(2)[[0]]
    with vared.policies.forced_policy(network, {first: (torch.eye(2), torch.eye(2)), second: (everything, everything)}):
        network.eval()(torch.randn(2, *CLIP))
    share = macs[first] / (macs[first] + macs[second])
    cost = nominal_cost(vared.policy(network), macs, 2)
    assert cost.tolist() == pytest.approx([1.0, 1 - share * 0.75])
    meter = EpochMeter(torch.device("cpu"))
    meter.add(torch.tensor(2.0), torch.tensor(0.5), torch.tensor([True, False]), cost, vared.policy(network))
    meter = EpochMeter(torch.device("cpu"), meter.saved())
    meter.add(torch.tensor(1.0), torch.tensor(0.2), torch.tensor([True] * 4), torch.ones(4), {})

    class OneProcess:
        reduce = staticmethod(lambda tensor, how: tensor)
        gather = staticmethod(lambda tensor: tensor)

    row = meter.row(OneProcess)
    costs = torch.tensor([*cost.tolist(), 1, 1, 1, 1], dtype=torch.float64)
    assert row["accuracy_loss"] == pytest.approx((2 * 2 + 4 * 1) / 6)
    assert row["efficiency_loss"] == pytest.approx((2 * 0.5 + 4 * 0.2) / 6)
    assert row["train_accuracy"] == pytest.approx(100 * 5 / 6)
    assert [row[f"{what}_cost"] for what in ("mean", "std", "min", "max")] == pytest.approx(
        [costs.mean().item(), costs.std(correction=0).item(), costs.min().item(), 1.0]
    )


TWO_PROCESSES = """
import sys, torch
from accelerate import Accelerator
from tests.training_helpers import Clips, dynamic_network, short_recipe
from vared.training import fit
torch.set_num_threads(1)
network = dynamic_network(gate_norm="layer")
fit(network, Clips(24), short_recipe(), directory=sys.argv[1], progress=False)
mine = torch.cat([p.detach().flatten() for p in network.parameters()])
everyone = Accelerator().gather(mine).view(2, -1)
assert torch.equal(everyone[0], everyone[1]), "the replicas differ"
"""


@pytest.mark.hazard("processes", "rates and replicas under torchrun", "rates of one process, replicas bit-equal")
@pytest.mark.slow
def test_two_processes_keep_equal_replicas_and_the_same_rates(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, tmp_path]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    network = dynamic_network(gate_norm="layer")
    alone = fit(network, Clips(24), short_recipe(), directory=tmp_path / "one", progress=False)
    together = pd.read_csv(tmp_path / "history.csv")
    assert together["lr"].tolist() == pytest.approx(alone.history["lr"].tolist())
    # Statistics of batch norm are per process on a CPU, so only the first losses are close.
    assert together["accuracy_loss"][0] == pytest.approx(alone.history["accuracy_loss"][0], rel=0.2)


def test_recalibrating_under_a_fixed_policy_leaves_the_gates_statistics():
    network = dynamic_network()
    network(Clips(8).clips)
    gates = {n: b.clone() for n, b in network.named_buffers() if ".gate." in n}
    with vared.fixed_policy(network, channel=0.5):
        recalibrate_batch_norm(network, [Clips(8).clips])
    assert gates and all(torch.equal(dict(network.named_buffers())[n], b) for n, b in gates.items())
