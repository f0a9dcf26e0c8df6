"""Batch-normalisation statistics measured anew on training clips.

Whether a candidate is open is decided on a threshold, so statistics that lag behind the weights change both the
accuracy and the cost of a dynamic network. The thesis does not mention it; static networks get the same treatment.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from vared.history import nominal_cost
from vared.policies import policy
from vared.trial_run import evaluating

logger = logging.getLogger(__name__)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def recalibrate(
    model: nn.Module, clips: Callable[[], Iterable[Tensor]], layer_macs: Mapping[str, float]
) -> tuple[float, float]:
    """Recalibrate `model` on the batches that `clips()` gives; mean nominal cost on them before and after."""
    before = mean_nominal_cost(model, clips(), layer_macs)
    recalibrate_batch_norm(model, clips())
    after = mean_nominal_cost(model, clips(), layer_macs)
    logger.info("Recalibrated batch normalisation: mean cost %.4f before, %.4f after.", before, after)
    return before, after


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Replace the running statistics of every batch norm, gates included, by the mean over `batches` of clips.

    Clips run in training mode (dense), B x C x T x H x W, with dropout off. Modes and momenta are as before
    afterwards, and so are the statistics of a norm that did not run. Raises ValueError when `batches` is empty, leaving
    the statistics alone.
    """
    norms = [module for module in model.modules() if isinstance(module, NORMS) and module.track_running_stats]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    earlier = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    seen = 0
    try:
        for clips in batches:
            if seen == 0:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # cumulative mean instead of a moving one
            model(clips)
            seen += 1
    finally:
        for norm, momentum, statistics in zip(norms, momenta, earlier, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked == 0:  # it did not run, as the gates of a forced policy do not
                norm.load_state_dict(statistics, strict=False)
        for module, mode in modes.items():
            module.training = mode
    if seen == 0:
        raise ValueError("Recalibrating batch normalisation needs at least one batch of training clips; got none.")
    return model


@torch.no_grad()
def mean_nominal_cost(model: nn.Module, batches: Iterable[Tensor], layer_macs: Mapping[str, float]) -> float:
    """Mean over clips of the nominal cost e(b) of equation (3.6) in evaluation mode; 1 for a static network."""
    if not layer_macs:
        return 1.0
    costs = []
    with evaluating(model):
        for clips in batches:
            model(clips)
            costs.append(nominal_cost(policy(model), layer_macs, len(clips)))
    return torch.cat(costs).mean().item()
