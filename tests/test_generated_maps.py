"""Generated beside computed maps, on layers whose answer is known by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.method_helpers import Geometry, tiny_r2plus1d
from vared.analysis.generated_maps import (
    generated,
    maps_under,
    measure_generated_maps,
    similarity_rows,
    similarity_text,
)
from vared.claims.tables import Results
from vared.claims.verdicts import RULES, judge
from vared.cli import main
from vared.layers import DynamicConfig
from vared.policies import dynamic_layers, forced_policy

ROOT = Path(__file__).resolve().parents[1]


def network(search_space: int = 2, **changes) -> nn.Sequential:
    """One dynamic layer of 6 channels on 8 frames, a copy as cheap operation."""
    config = DynamicConfig(search_space=search_space, cheap="copy")
    layer = Geometry(in_channels=2, config=config, **changes).layer(dtype=torch.float32)
    return nn.Sequential(layer).eval()


def clips(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 2, 8, 4, 4, generator=torch.Generator().manual_seed(1))


def of(table: pd.DataFrame, dimension: str) -> pd.DataFrame:
    return table[table["dimension"] == dimension]


def test_which_maps_are_generated_and_from_which():
    layer = network(search_space=3)[0]  # K = 6, 3, 2
    assert [part.tolist() for part in generated(layer, "temporal", 4, 6)] == [[1, 2, 3, 5], [0, 0, 0, 4]]
    assert [part.tolist() for part in generated(layer, "channel", 0.25, 6)] == [[2, 3, 4, 5], [0, 1, 0, 1]]
    x, full = clips(), maps_under(layer, clips())
    for dimension, axis, candidate in (("temporal", 2, 4), ("channel", 1, 0.25)):
        mixed, (indices, sources) = (
            maps_under(layer, x, **{dimension: candidate}),
            generated(layer, dimension, candidate, 8),
        )
        origin = torch.arange(full.shape[axis])
        origin[indices] = sources  # with a copy as cheap operation, every other map is computed
        torch.testing.assert_close(mixed, full.index_select(axis, origin))


def test_a_copy_is_as_good_as_a_copy_and_as_like_as_numpy_says():
    model = network()
    table = measure_generated_maps(model, [clips()])
    np.testing.assert_allclose(table["CC"], table["CC_copy"], atol=1e-6)
    np.testing.assert_allclose(table["RMSE"], table["RMSE_copy"], atol=1e-6)
    full = maps_under(model[0], clips()).detach().numpy().astype(np.float64)
    for clip, row in enumerate(of(table, "temporal").itertuples()):
        pairs = [(full[clip, c, t - 1], full[clip, c, t]) for c in range(6) for t in (1, 3, 5, 7)]
        expected = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
        assert row.clip == clip and row.CC == pytest.approx(expected, abs=1e-5)
        errors = np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs])
        assert row.RMSE == pytest.approx(errors / full[clip].std(), abs=1e-5)


def test_still_clips_give_perfect_frames_and_equal_filters_perfect_channels():
    model = network()
    with torch.no_grad():
        model[0].weight[3:] = model[0].weight[:3]
    still = clips()[:, :, :1].expand(-1, -1, 8, -1, -1)
    rows = similarity_rows(measure_generated_maps(model, [still])).set_index("dimension")
    assert rows["CC"].tolist() == pytest.approx([1, 1]) and rows["RMSE"].tolist() == pytest.approx([0, 0], abs=1e-6)
    with torch.no_grad():
        model[0].weight[3:] *= -1
    rows = similarity_rows(measure_generated_maps(model, [still])).set_index("dimension")
    assert rows.loc["channel", "CC"] == pytest.approx(-1) and rows.loc["temporal", "CC"] == pytest.approx(1)


def test_a_cheap_operation_that_undoes_the_difference_beats_the_copy():
    layer = Geometry(in_channels=2).layer(dtype=torch.float32)
    model = nn.Sequential(layer).eval()
    with torch.no_grad():
        layer.weight[3:] = -layer.weight[:3]
        layer.cheap_channel[0].weight.zero_()[:, :, :, 1, 1] = -1
    rows = similarity_rows(measure_generated_maps(model, [clips()])).set_index("dimension")
    channel = rows.loc["channel"]
    assert channel["CC"] == pytest.approx(1) and channel["CC_over_copy"] == pytest.approx(2)
    assert channel["RMSE"] == pytest.approx(0, abs=1e-6) and channel["RMSE_over_copy"] < -1


def test_flat_maps_have_no_correlation_and_are_counted():
    model = network()
    with torch.no_grad():
        model[0].weight[3] = 0  # one of three generated channels; its source is not flat
    row = of(measure_generated_maps(model, [clips()]), "channel").iloc[0]
    assert row["flat"] == pytest.approx(1 / 3) and np.isfinite(row["CC"])
    with torch.no_grad():
        model[0].weight.zero_()
    rows = measure_generated_maps(model, [clips()])
    assert rows["CC"].isna().all() and (rows["flat"] == 1).all()


def test_used_is_what_the_gates_chose_and_batches_do_not_matter():
    model = tiny_r2plus1d()
    x = torch.randn(4, 3, 8, 16, 16)
    name = next(iter(dynamic_layers(model)))
    temporal = torch.tensor([[0.0, 1.0], [0.2, 0.5], [0.0, 0.3], [1.0, 0.0]])
    with forced_policy(model, {name: (temporal, torch.tensor([[1.0, 0.0]]))}):
        table = measure_generated_maps(model, [x])
    used = table.query("layer == @name").set_index(["dimension", "clip"])["used"]
    assert used["temporal"].tolist() == [True, False, True, False] and not used["channel"].any()
    rows = similarity_rows(table.query("layer == @name")).set_index("dimension")
    of_layer = table.query("layer == @name and dimension == 'temporal'")
    assert rows.loc["temporal", "used"] == 0.5 and np.isnan(rows.loc["channel", "CC_used"])
    assert rows.loc["temporal", "CC_used"] == pytest.approx(of_layer.loc[of_layer["used"], "CC"].mean())
    assert similarity_text(rows.assign(run="a").reset_index()).iloc[1, -1] == "–"
    whole, parts = (measure_generated_maps(model, batches) for batches in ([x], x.split(3)))
    order = ["layer", "dimension", "candidate", "clip"]
    whole, parts = (found.sort_values(order, ignore_index=True) for found in (whole, parts))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4, atol=1e-5)
    assert len(whole.query("dimension == 'temporal'")["layer"].unique()) == sum(
        len(layer.temporal_factors) > 1 for layer in dynamic_layers(model).values()
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no dynamic layer"):
        measure_generated_maps(nn.Conv3d(2, 4, 1), [clips()])
    with pytest.raises(ValueError, match="no clip"):
        measure_generated_maps(network(), [])
    broken = network()
    with torch.no_grad():
        broken[0].weight[0] = torch.nan
    with pytest.raises(ValueError, match="Layer '0': its output holds values that are not finite"):
        measure_generated_maps(broken, [clips()])


def test_a_run_that_is_not_trained_is_named_by_the_verb(tmp_path, monkeypatch, capsys):
    root = tmp_path
    (root / "dvc.yaml").touch()
    numbers = {"data": {"source": "embedded"}, "model": {}, "sampling": {}, "training": {}, "evaluation": {}}
    listed = {"small": {"small-s2_8f_seed0": {"profile": "small", "run": "s2_8f_seed0", "data": "data/small"}}}
    (root / "params.yaml").write_text(json.dumps({"profiles": {"small": numbers}, "run_lists": listed}))
    (root / "data" / "small").mkdir(parents=True)
    (root / "data" / "small" / "identity.json").write_text('{"sha256": "0"}')
    monkeypatch.chdir(root)
    monkeypatch.setattr("vared.runs.code_identity", lambda root, files: "0")
    assert main(["generated-maps", "small"]) == 2
    assert "vared train small s2_8f_seed0" in capsys.readouterr().err
    (root / "params.yaml").write_text(json.dumps({"profiles": {"small": numbers}, "run_lists": {"small": {}}}))
    assert main(["generated-maps", "small"]) == 2
    assert "No run of this profile is dynamic with 8 frames" in capsys.readouterr().err


def test_the_claim_reads_a_row_a_seed_and_dimension(tmp_path):
    """The table as it is written, with a run of another search space in it, gives claim C55 its numbers."""
    model = network()
    rows, runs = [], []
    for space, seeds in ((2, 3), (3, 1)):
        for seed in range(seeds):
            word = f"s{space}_8f_seed{seed}"
            rows.append(similarity_rows(measure_generated_maps(model, [clips()])).assign(run=word))
            runs.append({"run": word, "frames": 8, "search_space": space, "seed": seed})
    pd.concat(rows).to_csv(tmp_path / "generated_maps.csv", index=False)
    pd.DataFrame(runs).to_csv(tmp_path / "runs.csv", index=False)
    summary = {"model": {"backbone": "r2plus1d_18"}, "data": {"source": "embedded"}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    claims = pd.read_csv(ROOT / "data" / "paper" / "claims.csv").query("id == 'C55'")
    judged = judge(claims, Results("embedded", tmp_path, tmp_path), {"C55": RULES["C55"]})
    expected = rows[0].set_index("dimension")["CC"]
    assert judged["value"].tolist() == pytest.approx([expected["temporal"], 0, expected["channel"], 0], abs=1e-5)
    assert judged["basis"].tolist() == ["3 seeds"] * 4
