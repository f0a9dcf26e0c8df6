"""AR-Net: a policy chooses each frame's resolution, and with it the network, or skips frames (thesis section 4.4,
table 4.4; Meng et al., "AR-Net: Adaptive Frame Resolution for Efficient Action Recognition", 2020).

    frame at 84 -> MobileNetV2 -> LSTM -> one of 7 actions --> ResNet-50 at 224 -+
                                                           |-> ResNet-34 at 168 -+-> mean over the frames
                                                           |-> ResNet-18 at 112 -+   that were not skipped
                                                           |-> what was seen at 84 -+
                                                           +-> skip 1, 2 or 4 frames, this one included

Its training adds to cross entropy a cost of actions and a penalty on their unequal use, `policy_loss`, and lowers the
temperature of the Gumbel softmax (training.py beside this file). The networks of the paper start from ImageNet, the
thesis's from nothing. Resolutions are fractions of the crop, 224 in the thesis.

Shapes: B clip, T frame, H W pixel, N frames chosen, A = 7 actions, K class, F feature.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vared.backbones.tsn import image_network

BACKBONES = ("resnet50", "resnet34", "resnet18")
RESOLUTIONS = (1.0, 3 / 4, 1 / 2, 3 / 8)  # 224, 168, 112, 84: those of the backbones, and the policy's
SKIPS = (1, 2, 4)  # frames without a score: the one looked at, and those after it that are not looked at
STATE = 512
FIRST_TEMPERATURE = 5.0


@dataclass(frozen=True)
class Decision:
    """What the policy did with every frame.

    `actions` (B x T x A) is one-hot, with the gradient of the policy in training: the four resolutions, highest first,
    then the three skips. Frames that an earlier skip covers repeat its action. `looked` (B x T, bool) marks the others.
    """

    actions: Tensor
    looked: Tensor


class ARNet(nn.Module):
    """Clips B x 3 x T x H x W -> logits B x K, for any T. A clip whose frames are all skipped gets logits 0.

    Training runs every network on every frame and samples actions (Gumbel softmax, straight-through, at
    `temperature`). Evaluation takes the likeliest action and runs only what it asks for; both weight scores alike.

    The score of a frame at the lowest resolution is linear in the LSTM's state, as published, and in MobileNetV2's
    features. The second layer, MobileNetV2's own classifier, is counted in the thesis's 63.0 M parameters: the network
    has 62.845 M with it and 62.588 M without (200 classes).
    """

    takes_clips = True  # by their frames; its convolutions are 2-D

    def __init__(self, num_classes: int, width: float = 1.0):
        super().__init__()
        self.backbones = nn.ModuleList(
            image_network(backbone=name, num_classes=num_classes, width=width) for name in BACKBONES
        )
        self.mobilenet = image_network(backbone="mobilenetv2", num_classes=num_classes, width=width)
        state = max(1, round(width * STATE))
        self.lstm = nn.LSTMCell(self.mobilenet.classifier.in_features, state)
        self.action = nn.Linear(state, len(RESOLUTIONS) + len(SKIPS))
        self.state_classifier = nn.Linear(state, num_classes)
        for linear in (self.action, self.state_classifier):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)
        self.register_buffer("temperature", torch.tensor(FIRST_TEMPERATURE))  # saved, since training lowers it
        self.last_decision: Decision | None = None

    def __getstate__(self):
        # The last decision belongs to a forward pass and its graph: it can neither be copied nor saved.
        return {**self.__dict__, "last_decision": None}

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.transpose(1, 2)
        decision, features, states = self._decide(frames)
        self.last_decision = decision
        weights = decision.actions[..., : len(RESOLUTIONS)]
        total = weights.new_zeros(clips.shape[0], self.state_classifier.out_features)
        for number in range(len(RESOLUTIONS)):
            weight = weights[..., number]
            clip, frame = (torch.ones_like(weight) if self.training else weight).nonzero(as_tuple=True)
            if len(clip) == 0:
                continue
            if number < len(self.backbones):
                scores = self.backbones[number](_resize(frames[clip, frame], RESOLUTIONS[number]))
            else:
                scores = self.mobilenet.classifier(features[clip, frame])
                scores = scores + self.state_classifier(states[clip, frame])
            total = total.index_add(0, clip, (scores * weight[clip, frame, None]).to(total.dtype))
        return total / weights.sum((1, 2)).clamp(min=1)[:, None]

    def _decide(self, frames: Tensor) -> tuple[Decision, Tensor, Tensor]:
        """Decision for the frames B x T x 3 x H x W, and the features and states it rests on, each B x T x F."""
        batch, count = frames.shape[:2]
        seen = self._features(frames.flatten(0, 1)).unflatten(0, (batch, count)) if self.training else None
        feature = frames.new_zeros(batch, self.lstm.input_size)
        hidden, cell = (frames.new_zeros(batch, self.lstm.hidden_size) for _ in range(2))
        action = frames.new_zeros(batch, self.action.out_features)
        skips = frames.new_tensor((0,) * len(RESOLUTIONS) + SKIPS)
        covered = frames.new_zeros(batch)  # frames still to pass over
        steps = []
        for t in range(count):
            looks = covered == 0
            (rows,) = looks.nonzero(as_tuple=True)
            if len(rows):
                new = self._features(frames[rows, t]) if seen is None else seen[rows, t]
                feature = _replaced(feature, rows, new)
                hidden, cell = (
                    _replaced(old, rows, part)
                    for old, part in zip((hidden, cell), self.lstm(new, (hidden[rows], cell[rows])), strict=True)
                )
                action = _replaced(action, rows, self._choose(self.action(hidden[rows])))
                covered = torch.where(looks, action.detach() @ skips, covered)
            covered = (covered - 1).clamp(min=0)
            steps.append((action, looks, feature, hidden))
        actions, looked, features, states = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
        return Decision(actions, looked), features, states

    def _features(self, images: Tensor) -> Tensor:
        """Images N x 3 x H x W -> N x F, at the policy's resolution."""
        images = _resize(images, RESOLUTIONS[-1])
        return self.mobilenet.forward_head(self.mobilenet.forward_features(images), pre_logits=True)

    def _choose(self, logits: Tensor) -> Tensor:
        if self.training:
            return F.gumbel_softmax(logits.float(), tau=self.temperature.item(), hard=True)
        return F.one_hot(logits.argmax(1), logits.shape[1])


def build(*, num_classes: int, width: float = 1.0) -> ARNet:
    """AR-Net; `width` multiplies every channel count and the size of the LSTM."""
    return ARNet(num_classes, width)


def frame_gmacs(model: ARNet, crop_size: int) -> tuple[float, ...]:
    """GMACs of one frame through each network at its resolution, MobileNetV2 last."""
    networks = copy.deepcopy(nn.ModuleList([*model.backbones, model.mobilenet])).to("meta").eval()
    costs = []
    for network, resolution in zip(networks, RESOLUTIONS, strict=True):
        side = round(crop_size * resolution)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(1, 3, side, side, device="meta"))
        costs.append(counter.get_total_flops() / 2e9)  # torch counts a multiply-accumulate as two
    return tuple(costs)


def clip_gmacs(model: ARNet, decision: Decision, crop_size: int) -> Tensor:
    """GMACs of every clip in evaluation under `decision`, B, float64.

    A frame that is looked at costs the policy (MobileNetV2's features, LSTM, choice of the action), and a frame with a
    score the chosen network, or at the lowest resolution the two classifiers. Resizing is not counted.
    """
    *backbones, mobilenet = frame_gmacs(model, crop_size)
    own, lstm = model.mobilenet.classifier.weight.numel() / 1e9, model.lstm
    policy = mobilenet - own + (lstm.weight_ih.numel() + lstm.weight_hh.numel() + model.action.weight.numel()) / 1e9
    networks = (*backbones, own + model.state_classifier.weight.numel() / 1e9)
    chosen = decision.actions.detach()[..., : len(RESOLUTIONS)].sum(1).double()
    return chosen @ chosen.new_tensor(networks) + decision.looked.sum(1).double() * policy


def policy_loss(decision: Decision, costs: tuple[float, ...], balance: float = 3.0) -> Tensor:
    """sum_a u_a cost_a + balance |u - 1/A|, u the share of frames with action a, 1/A the share if all were alike.

    `costs` are those of the backbones; the lowest resolution, whose network runs anyway, and the skips cost nothing.
    As in the authors' code, which weights the whole with 0.05, cross entropy with 0.95.
    """
    usage = decision.actions.mean((0, 1))
    return usage[: len(costs)] @ usage.new_tensor(costs) + balance * (usage - 1 / len(usage)).norm()


def _replaced(old: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    return old.index_copy(0, rows, new.to(old.dtype))


def _resize(images: Tensor, fraction: float) -> Tensor:
    if fraction == 1:
        return images
    size = tuple(max(1, round(side * fraction)) for side in images.shape[-2:])
    return F.interpolate(images, size, mode="bilinear", antialias=True)
