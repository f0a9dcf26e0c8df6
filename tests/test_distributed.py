"""Training in two processes whose clips, and so policies, differ."""

import json
import os
import subprocess
import sys

import pytest
import torch

WORKER = """
import json, sys
import torch, torch.distributed as dist, vared
from tests.method_helpers import dynamic_layers, randomise_gates, tiny_r2plus1d
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
model = randomise_gates(tiny_r2plus1d(search_space=3)).train()
loss = vared.EfficiencyLoss(vared.count_flops(model, (3, 8, 16, 16)).dynamic_layers)
parallel = torch.nn.parallel.DistributedDataParallel(model.train())
optimiser = torch.optim.SGD(parallel.parameters(), lr=0.01)
torch.manual_seed(rank)
y, costs = torch.tensor([0, 1, 2]), []
before = [p.detach().clone() for p in model.parameters()]
for _ in range(20):
    logits = parallel(torch.randn(3, 3, 8, 16, 16))
    policies = vared.policy(model)
    optimiser.zero_grad()
    (torch.nn.functional.cross_entropy(logits, y) + loss(policies, torch.ones(3))).backward()
    assert all(p.grad is not None for p in model.parameters())
    optimiser.step()
    costs.append([p.cost.tolist() for p in policies.values()])
moved = sum(not torch.equal(p, b) for p, b in zip(model.parameters(), before))
torch.save({n: p.detach() for n, p in model.named_parameters()}, f"{folder}/rank{rank}.pt")
with open(f"{folder}/rank{rank}.json", "w") as note:
    json.dump({"costs": costs, "moved": moved}, note)
dist.destroy_process_group()
"""


@pytest.mark.hazard("processes", "policies that differ by rank", "20 steps, replicas bit-equal, every gradient there")
def test_replicas_are_bit_equal_after_steps_with_different_policies(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors
    notes = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert all(one != other for one, other in zip(notes[0]["costs"], notes[1]["costs"], strict=True))
    assert notes[0]["moved"] > 100
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
