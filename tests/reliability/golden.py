"""Losses of 20 training steps of every network, narrow and dynamic, on one CPU thread.

`python -m tests.reliability.golden` writes golden_losses.json beside this file, with the machine. A test compares, so
that numbers do not drift unnoticed. Write the file anew only with the reason in the commit.
"""

import json
from pathlib import Path

import torch

import vared
from vared.backbones import default_config
from vared.experiments import hardware
from vared.policies import policy

FILE = Path(__file__).with_name("golden_losses.json")
STEPS, CLIPS, FRAMES = 20, 4, 4
# Width and pixels. MobileNet has one pixel left of 32, and normalising so few values makes gradients explode.
FORMS = {"i3d": (1 / 16, 32), "tsn_mobilenetv2": (1 / 4, 64)}
# With AVX2 in place of AVX-512 these two end 0.4 and 0.01 away; all others stay within 3e-7.
AMPLIFY = ("i3d", "r2plus1d_18_tpn")


def losses(name: str) -> list[float]:
    """Loss before each of the steps; both losses count, on the same clips every time."""
    torch.manual_seed(0)
    width, pixels = FORMS.get(name, (1 / 8, 32))
    model = vared.create_model(
        name, num_classes=5, num_frames=FRAMES, crop_size=pixels, width=width,
        dynamic=default_config(name, search_space=2),
    ).train()  # fmt: skip
    clips, labels, found = torch.randn(CLIPS, 3, FRAMES, pixels, pixels), torch.arange(CLIPS), []
    efficiency = vared.EfficiencyLoss(vared.count_flops(model, clips[0]).dynamic_layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    for _ in range(STEPS):
        logits = model(clips)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss = loss + 0.8 * efficiency(policy(model), logits.argmax(1) == labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        found.append(loss.item())
    return found


def main() -> None:
    """Write the file."""
    torch.set_num_threads(1)
    instructions = torch.backends.cpu.get_cpu_capability()
    record = {
        "made_on": hardware(),
        "instructions": instructions,
        "losses": {name: losses(name) for name in vared.list_models()},
    }
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
