"""The page of semantic segmentation: PSPNet, static against dynamic, with its controls. The thesis prints no number."""

from collections.abc import Mapping

import pandas as pd

from vared.reports.reporting import ALL_COUNTED, AS_THESIS, CONTROLS, gflops

NAMES = {variant: name.replace("clips", "images") for variant, name in CONTROLS.items()}
DIFFERENCE = "dynamic minus this, points (95 % interval)"


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a run and variant of segmentation.csv as text, in the order of the controls of recognition."""
    rows = []
    order = {variant: place for place, variant in enumerate(CONTROLS)}
    for _, run in runs.sort_values("variant", key=lambda names: names.map(order), kind="stable").iterrows():
        rows.append({
            "network": NAMES[run["variant"]],
            "run": run["run"],
            f"GFLOPs avg ({AS_THESIS})": gflops(run["gflops_backbone_mean"]),
            f"GFLOPs avg, {ALL_COUNTED}": gflops(run["gflops_total_mean"]),
            f"saving, {ALL_COUNTED}": f"{100 * (1 - run['gflops_total_mean'] / run['gflops_static']):.1f} %",
            "pixAcc": f"{run['pixel_accuracy']:.2f}",
            "mIoU": f"{run['mean_iou']:.2f}",
            f"pixAcc: {DIFFERENCE}": _difference(run, "pixel_accuracy"),
            f"mIoU: {DIFFERENCE}": _difference(run, "mean_iou"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _difference(run: pd.Series, metric: str) -> str:
    mean, low, high = (run[f"{metric}_{part}"] for part in ("difference", "low", "high"))
    return "–" if pd.isna(mean) else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def classes_table(classes: pd.DataFrame) -> pd.DataFrame:
    """IoU in percent, a row a class and a column a variant of segmentation_classes.csv (mean over runs)."""
    order = [variant for variant in CONTROLS if variant in set(classes["variant"])]
    wide = classes.pivot_table(index="class", columns="variant", values="iou", sort=False)[order]
    return wide.round(1).rename(columns=NAMES).rename_axis(columns=None).reset_index()


def full_size(costs: Mapping[str, float]) -> str:
    """What PSPNet costs on ADE20K, static and at the cheapest policy, as a sentence."""
    share = costs["gflops_of_dynamic_layers"] / costs["gflops_static"]
    return (
        f"In full size, {costs['classes']} classes and crops of {costs['crop_size']} pixels, PSPNet on the dilated "
        f"ResNet-18 costs {costs['gflops_static']:.1f} GFLOPs and has {costs['parameters']:.1f} million parameters, "
        f"the auxiliary head of training included; dynamic layers add {costs['parameters_added']:.2f} million. The "
        f"{costs['dynamic_layers']} of them have {100 * share:.0f} % of the operations, so that S = 2 can go down to "
        f"{costs['gflops_floor']:.1f} GFLOPs ({costs['gflops_floor_total']:.1f} with gates and cheap operations), "
        f"{100 * (1 - costs['gflops_floor'] / costs['gflops_static']):.0f} % less. Counted on shapes alone."
    )


def provenance(summary: Mapping[str, object], runs: pd.DataFrame) -> str:
    """Where the numbers come from, as in the other tables."""
    data, model = summary["data"], summary["model"]
    words = ", ".join(f"{name} {value}" for name, value in data.items() if name != "source")
    lines = (
        f"Profile: {summary['profile']}",
        f"Data: {data['source']} ({words}); evaluated on {runs['images'].max():.0f} images, "
        f"{len(summary['classes'])} classes",
        f"Network: PSPNet on a dilated ResNet-18, width {model['width']}, crops of {model['crop_size']} pixels in "
        "training, whole images in evaluation",
        f"Seeds: {', '.join(map(str, sorted(runs['seed'].unique())))}",
        f"Hardware: {summary['hardware']}",
        f"Made by: `dvc repro segmentation@{summary['profile']}`",
    )
    return "\n".join(f"- {line}" for line in lines)
