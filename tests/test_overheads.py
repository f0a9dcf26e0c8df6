"""Parameters that the method adds in full size."""

import pandas as pd
import pytest

from vared.backbones import r2plus1d
from vared.costs.overheads import count_overheads
from vared.costs.static_costs import full_size

KINETICS = "Mini-Kinetics-200"


def test_gates_and_cheap_operations_against_numbers_counted_by_hand():
    rows = [("r2plus1d_18", 16), ("x3d_m", 16), ("tsn_resnet50", 8), ("r2plus1d_18", 16)]
    rows = pd.DataFrame([{"network": name, "dataset": KINETICS, "frames": t, "clip": "c"} for name, t in rows])
    table = count_overheads(rows).set_index(["network", "search_space"])
    assert len(table) == 6
    added = table.loc[("r2plus1d_18", 2)]
    assert added["parameters"] == pytest.approx(33.281023e6, abs=1)  # as counted for the plain network
    assert added["gate_parameters"] == pytest.approx(0.264e6, rel=0.02)
    # A 3 x 3 kernel for each channel that is not kept, and for each channel of every second frame.
    plain = full_size("r2plus1d_18", KINETICS, 16)
    widths = [m.out_channels for name, m in plain.named_modules() if r2plus1d.is_dynamic(name, m)]
    assert len(widths) == 16 and added["cheap_parameters"] == sum(9 * (width // 2 + width) for width in widths)
    assert table.loc[("r2plus1d_18", 3), "cheap_parameters"] > 2 * added["cheap_parameters"]
    assert table.loc[("tsn_resnet50", 2), "parameters"] == pytest.approx(23.9e6, rel=0.01)
    assert table.loc[("x3d_m", 2), "gate_parameters"] == pytest.approx(0.144e6, rel=0.1)
