"""What the stages do with runs: train and evaluate each once in scratch/, then publish the files that DVC tracks.

DVC runs its stages one after the other; `compute_all` works on all runs of a profile side by side before them.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Nothing slow (torch, pandas) at the top: publishing a finished run takes a fraction of a second.
from vared import ahead, scratch, stopping
from vared.failures import explaining_memory
from vared.run_words import require_plain
from vared.runs import RunPlan, code_identity, fingerprint, in_order

TRAINING_OUTPUTS = ("phase1.safetensors", "weights.safetensors", "history.csv", "training.json")
EVALUATION_OUTPUTS = ("metrics.json", "clips.parquet", "policies.parquet")
REDUNDANCY_OUTPUTS = ("layers.csv", "clips.parquet")
# Files beside runs.TRAINING_FILES whose content changes what is measured in given weights; the stage watches the same.
REDUNDANCY_FILES = ("vared/analysis/redundancy.py", "vared/analysis/run_redundancy.py", "vared/analysis/similarity.py")


def compute_all(root: Path, plans: Sequence[RunPlan], jobs: int) -> bool:
    """Train and evaluate all runs into scratch/, `jobs` at a time. Whether all went well; failures are reported."""
    profile = plans[0].profile
    command = [sys.executable, "-m", "vared", "compute", profile]
    commands = {plan.run.word: [*command, plan.run.word] for plan in in_order(plans)}
    if ahead.report_failures(ahead.run_side_by_side(commands, jobs, root)):
        return False
    # Constant on purpose: what depends on this file must not run again because another run was trained.
    text = "Computed side by side into scratch/; the stages train and evaluate publish from there.\n"
    scratch.write_text(root / "data" / "runs" / f"{profile}.txt", text)
    return True


def trained(root: Path, plan: RunPlan) -> Path:
    """The scratch folder of the trained run; trains it, and what it starts from, when that is not done."""
    folder = root / "scratch" / plan.training_fingerprint

    def work(target: Path) -> None:
        from vared import experiments

        start = trained(root, plan.start) / "phase1.safetensors" if plan.start else None
        size = plan.numbers["model"]["crop_size"]
        clip = (3, plan.run.frames, size, size)
        with explaining_memory(plan.numbers["training"]["batch_size"], clip), stopping.saving_first():
            experiments.train(root, plan, target, start)

    record = {"profile": plan.profile, "run": plan.run.word}
    return scratch.compute_once(folder, work, record, leader=_is_leader())


def evaluated(root: Path, plan: RunPlan, weights: Path) -> Path:
    """The scratch folder of the evaluation of the weights in folder `weights`."""
    folder = root / "scratch" / plan.training_fingerprint / f"evaluation-{plan.evaluation_fingerprint}"

    def work(target: Path) -> None:
        from vared import protocol

        protocol.evaluate_run(root, plan, weights, target)

    return scratch.compute_once(folder, work, {"profile": plan.profile, "run": plan.run.word})


def measured(root: Path, plan: RunPlan, weights: Path) -> Path:
    """The scratch folder of the redundancy of the static network whose weights lie in folder `weights`."""
    identity = fingerprint([plan.numbers["redundancy"], code_identity(root, REDUNDANCY_FILES)])
    folder = root / "scratch" / plan.training_fingerprint / f"redundancy-{identity}"

    def work(target: Path) -> None:
        from vared.analysis import run_redundancy

        run_redundancy.measure_run(root, plan, weights, target)

    return scratch.compute_once(folder, work, {"profile": plan.profile, "run": plan.run.word})


def publish_training(root: Path, plan: RunPlan) -> None:
    """Put weights and curves of the run under data/runs/, training it first when that is not done."""
    folder = trained(root, plan)
    if _is_leader():
        scratch.publish(folder, TRAINING_OUTPUTS, root / "data" / "runs" / plan.profile / plan.run.word)


def publish_evaluation(root: Path, plan: RunPlan) -> None:
    """Put metrics and per-clip results of the published weights under data/evaluations/.

    Under torchrun the first process judges alone, so that every video counts once.
    """
    if not _is_leader():
        return
    folder = evaluated(root, plan, root / "data" / "runs" / plan.profile / plan.run.word)
    scratch.publish(folder, EVALUATION_OUTPUTS, root / "data" / "evaluations" / plan.profile / plan.run.word)


def publish_redundancy(root: Path, plan: RunPlan) -> None:
    """Put the redundancy of the published weights under data/redundancy/, measuring it first when that is not done.

    Raises ValueError for a run that is not static, FileNotFoundError without weights.
    """
    require_plain(plan.run)
    weights = root / "data" / "runs" / plan.profile / plan.run.word
    if not (weights / "phase1.safetensors").exists():
        command = f"vared train {plan.profile} {plan.run.word}"
        raise FileNotFoundError(f"{weights / 'phase1.safetensors'} does not exist. Train it: {command}")
    folder = measured(root, plan, weights)
    scratch.publish(folder, REDUNDANCY_OUTPUTS, root / "data" / "redundancy" / plan.profile / plan.run.word)


def publish_all_redundancy(root: Path, profile: str, plans: Sequence[RunPlan], jobs: int) -> bool:
    """`publish_redundancy` of all static runs of table B.1's networks among `plans`, `jobs` at a time. Whether all went
    well."""
    (root / "data" / "redundancy" / profile).mkdir(parents=True, exist_ok=True)
    words = [plan.run.word for plan in in_order(plans) if plan.run.compared_maps]
    commands = {word: [sys.executable, "-m", "vared", "redundancy", profile, word] for word in words}
    return not commands or not ahead.report_failures(ahead.run_side_by_side(commands, jobs, root))


def _is_leader() -> bool:
    return int(os.environ.get("RANK", 0)) == 0
