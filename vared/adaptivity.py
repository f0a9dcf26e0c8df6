"""How far a policy depends on the input: numbers from the tables of an evaluation. Entropies in bits."""

import numpy as np
import pandas as pd


def cost_spread(clips: pd.DataFrame, column: str = "gflops_total") -> dict[str, float]:
    """Mean, standard deviation, minimum and maximum over clips of a cost column of `Evaluation.clips`."""
    cost = clips[column]
    spread = {"mean": cost.mean(), "std": cost.std(ddof=0), "min": cost.min(), "max": cost.max()}
    return {name: float(value) for name, value in spread.items()}


def layer_adaptivity(policies: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """A row a layer and dimension ("temporal", "channel") from `Evaluation.policies` and `Evaluation.clips`.

    mean_cost: nominal share computed. entropy: of the chosen candidate over clips; 0 means one choice for all.
    class_information: mutual information of choice and label. closed_first: share of clips that do not take the
    largest candidate. all_zero: share of clips for which the all-zero rule fired. never_open: candidates that no clip
    opens. mean_open_weight: mean V of open candidates.
    """
    labels = clips.set_index("clip")["label"]
    rows = []
    for layer, of_layer in policies.groupby("layer", sort=False):
        for dimension, column, first in (("temporal", "stride", 1), ("channel", "ratio", 1.0)):
            weights = of_layer.filter(regex=rf"^V_{dimension[0]}\d+$").dropna(axis=1).to_numpy()
            if weights.shape[1] < 2:
                continue
            choice, label = of_layer[column].to_numpy(), of_layer["clip"].map(labels).to_numpy()
            rows.append(
                {
                    "layer": layer,
                    "dimension": dimension,
                    "mean_cost": float((1 / choice if dimension == "temporal" else choice).mean()),
                    "entropy": entropy(choice),
                    "class_information": entropy(choice) + entropy(label) - entropy(choice, label),
                    "closed_first": float((choice != first).mean()),
                    "all_zero": float(of_layer[f"all_zero_{dimension}"].mean()),
                    "never_open": int((weights <= 0).all(0).sum()),
                    "mean_open_weight": float(weights[weights > 0].mean()),
                }
            )
    return pd.DataFrame(rows)


def entropy(*variables: np.ndarray) -> float:
    """Joint entropy in bits of the observed values, each variable N."""
    _, counts = np.unique(np.stack(variables, axis=1), axis=0, return_counts=True)
    share = counts / counts.sum()
    return float(max(-(share * np.log2(share)).sum(), 0.0))
