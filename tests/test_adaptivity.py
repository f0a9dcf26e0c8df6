"""How cost and redundancy follow what is known of a clip."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from vared.analysis.adaptivity import (
    KNOWN,
    binned_means,
    correlation_table,
    fullest_bin,
    known_scenes,
    rank_correlation,
    run_adaptivity,
    with_scenes,
)  # fmt: skip


def scenes(count: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(generator.random((count, len(KNOWN))), columns=KNOWN, index=[f"clip{i}" for i in range(count)])


def test_a_rank_correlation_is_spearmans_with_ties():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 6, 200), generator.integers(0, 6, 200)
    found = rank_correlation(a + b, b)
    assert found.rho == pytest.approx(spearmanr(a + b, b).statistic) and found.low < found.rho < found.high
    assert rank_correlation(np.exp(np.arange(9.0)), np.arange(9)) == pytest.approx((1, 1, 1))
    assert rank_correlation(-np.arange(9.0), np.arange(9)).rho == pytest.approx(-1)


def test_its_interval_covers_as_often_as_it_says():
    # bivariate normal with Pearson 0.5: Spearman 6 / pi asin(0.25)
    truth, hits, generator = 6 / np.pi * np.arcsin(0.25), 0, np.random.default_rng(1)
    for trial in range(60):
        known = generator.normal(size=100)
        found = rank_correlation(0.5 * known + 0.75**0.5 * generator.normal(size=100), known, resamples=300, seed=trial)
        hits += found.low <= truth <= found.high
    assert 50 <= hits


def test_seeds_that_disagree_widen_the_interval():
    known, noise = np.arange(300.0), np.random.default_rng(0).normal(size=(2, 300))
    agreeing = rank_correlation([known + 150 * noise[0], known + 150 * noise[1]], known)
    differing = rank_correlation([known + 150 * noise[0], -known + 150 * noise[1]], known)
    each = [rank_correlation(known + 150 * row, known).rho for row in noise]
    assert agreeing.rho == pytest.approx(np.mean(each))
    assert differing.high - differing.low > 5 * (agreeing.high - agreeing.low)


def test_a_cost_that_never_varies_has_no_correlation():
    assert np.isnan(rank_correlation(np.ones(10), np.arange(10))).all()
    assert np.isnan(rank_correlation([np.arange(10), np.ones(10)], np.arange(10)).rho)
    with pytest.raises(ValueError, match=r"\(1, 10\), \(9,\)"):
        rank_correlation(np.ones(10), np.arange(9))


def test_scenes_are_joined_by_the_name_of_the_video(tmp_path):
    described = scenes(4).rename_axis("clip")
    described.assign(other=1).iloc[::-1].to_csv(tmp_path / "clips.csv")
    table = pd.DataFrame({"clip": [0, 1], "name": ["val/rise/clip2.mp4", "val/fall/clip0.mp4"]})
    joined = with_scenes(table, known_scenes(tmp_path))
    assert joined["motion"].tolist() == pytest.approx(described.loc[["clip2", "clip0"], "motion"].tolist())
    with pytest.raises(ValueError, match="'elsewhere', nor 0 more"):
        with_scenes(pd.DataFrame({"name": ["val/rise/clip2.mp4", "elsewhere.mp4"]}), known_scenes(tmp_path))


def test_correlations_of_runs_and_of_their_seeds_together():
    known = scenes(400)
    runs = {f"s2_8f_seed{seed}": known.assign(cost=known["motion"] * (1 + seed) + 0.01 * seed) for seed in range(2)}
    runs["s2_16f_seed0"] = known.assign(cost=-known["clutter"])
    table = correlation_table(runs, ["cost"]).set_index(["run", "known"])
    assert table.index.get_level_values("run").unique().tolist() == [*runs][:2] + ["s2_8f", "s2_16f_seed0"]
    assert table.loc[("s2_8f", "motion"), "rho"] == 1 and pd.isna(table.loc[("s2_8f", "motion"), "seed"])
    assert table.loc[("s2_16f_seed0", "clutter"), "rho"] == -1 and (table["clips"] == 400).all()
    assert abs(table.loc[("s2_8f", "camera_motion"), "rho"]) < 0.15


def test_the_fullest_bin_of_cost():
    cost = pd.Series([0.701, 0.72, 0.749, 0.75, 0.76, 0.95])  # bins (0.70, 0.75], (0.75, 0.80], (0.90, 0.95]
    assert fullest_bin(cost, 1.0) == pytest.approx(100 * 4 / 6)
    assert fullest_bin(pd.Series([0.7 * 3] * 5), 3.0) == 100


def test_a_run_in_one_row():
    clips = pd.DataFrame({"clip": range(4), "label": [0, 1, 0, 1], "gflops_backbone": [0.5, 0.7, 0.5, 0.7]})
    weights = {"V_t1": [1.0, 0.0] * 2, "V_t2": 0.5, "V_c1": 0.0, "V_c2": 0.5}
    policies = pd.DataFrame({"clip": range(4), "layer": "conv", "stride": [1, 2] * 2, "ratio": 0.5, **weights})
    policies = policies.assign(all_zero_temporal=False, all_zero_channel=False)
    row = run_adaptivity(clips, policies, 1.0)
    assert row["mean"] == pytest.approx(0.6) and row["fullest_bin"] == 50
    assert (row["temporal_entropy"], row["channel_entropy"], row["temporal_class_information"]) == (1, 0, 1)


def test_means_over_bins_average_seeds_and_keep_clips_together_of_which_the_same_is_known():
    motion = np.r_[np.zeros(10), np.arange(1.0, 11.0)]  # half of the cameras stand still
    known = pd.DataFrame({name: motion for name in KNOWN})
    runs = {f"s2_8f_seed{seed}": known.assign(cost=motion + 2 * seed) for seed in range(2)}
    table = binned_means(runs, ["cost"], ["motion"], bins=4)
    assert table["known_mean"].tolist() == [0, 3, 8] and table["clips"].tolist() == [10, 5, 5]
    assert table["mean"].tolist() == [1, 4, 9] and set(table["group"]) == {"s2_8f"} and set(table["seeds"]) == {2}
    assert table["half_width"].tolist() == pytest.approx([0, *[1.96 * np.std(range(5), ddof=1) / 5**0.5] * 2])
