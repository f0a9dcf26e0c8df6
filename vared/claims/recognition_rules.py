"""Claims about accuracy and saving: sections 4.4, 4.6 and 4.7, tables 4.1 to 4.8, 4.10 to 4.12 and B.2.

Data sets are named as in the thesis; `tables.STAND_INS` says which generated ones stand for them.
"""

from vared.claims import measures
from vared.claims.parts import (
    ABOUT,
    CLIP1,
    I3D,
    KINETICS_400,
    MOMENTS,
    NO_LOSS,
    R2PLUS1D,
    SAVES,
    VIDEO1,
    VIDEO5,
    X3D,
    Part,
    Rule,
    about,
    at,
    beats_baseline,
    beats_static,
    best_of_ablation,
    faster,
    gains,
    rule,
    saves,
)  # fmt: skip
from vared.claims.tables import DYNAMIC, EQUAL_EPOCHS, Measured, Results

_ALL = (CLIP1, VIDEO1, VIDEO5)
_R8, _R16, _R32 = (at(R2PLUS1D, frames) for frames in (8, 16, 32))
_I16, _X16 = at(I3D, 16), at(X3D, 16)
_S3, _BEFORE = DYNAMIC | {"search_space": 3}, DYNAMIC | {"variant": "before_finetuning"}
_MEAN, _RANDOM = (DYNAMIC | {"variant": variant} for variant in ("mean_policy", "random_policy"))
_LOCALISATION = "localisation networks are not among the runs of this pipeline"


def _longer(place: dict) -> tuple[Part, ...]:
    """Against the static network, and against the one trained for as many epochs as the dynamic network."""
    return *beats_static(place), gains(CLIP1, against=EQUAL_EPOCHS, name="static of equal epochs", **place)


def _fewer_parameters(results: Results) -> Measured:
    dynamic = results.rows("overheads", network="tsn_resnet50", search_space=2).iloc[0]
    arnet = results.rows("static_costs", network="ar_net").iloc[0]["million_parameters"]
    total = dynamic[["parameters", "gate_parameters", "cheap_parameters"]].sum() / 1e6
    return measures.counted(100 * (1 - total / arnet))


_LEAST_GAIN = measures.mean_over_networks(CLIP1, least=True)
_S3_COST = measures.paired("gflops_avg", _S3 | _R8, DYNAMIC | _R8, relative=True)
_S3_SPEED = measures.speed_gain(search_spaces=(2, 3), network=R2PLUS1D, frames=8)
_PHASE_2 = measures.paired("gflops_avg", DYNAMIC | _R8, _BEFORE | _R8, relative=True)
_SAVED_BEFORE = measures.saving(**_BEFORE | _R8)
_SPREAD = "most minus least GFLOPs of a clip, of the mean"
_SPREADS, _SAVINGS = (
    measures.difference_of(quantity, DYNAMIC | _I16, DYNAMIC | _R16)
    for quantity in (measures.spread_of, measures.saved_of)
)

RECOGNITION: dict[str, Rule] = {
    "C01": rule("table_4_1", *about(30)),  # 20 to 40 %
    "C02": rule("table_4_1", *about(30, backbone=R2PLUS1D)),
    "C03": rule("table_4_2", *about(40, backbone=I3D)),
    "C04": rule("table_4_2", *about(20, backbone=X3D)),
    "C10": rule("table_4_1", *_longer(_R8)),
    "C11": rule("table_4_1", *_longer(_R16)),
    "C12": rule("table_4_1", *_longer(_R32)),
    "C13": rule(
        "table_4_1", *(gains(metric, against=_S3, name="S = 3", **_R8) for metric in (CLIP1, VIDEO1)),
        Part("GFLOPs, S = 3 minus S = 2", _S3_COST, 0.0, unit="%"),
        Part("clips a second gained, S = 2 minus S = 3", _S3_SPEED, 0.0),
    ),
    "C14": rule(
        "table_4_1", Part(_SPREAD, measures.spread(**DYNAMIC | _R8), 5.0, unit="%"),
        gains(CLIP1, against=_RANDOM, name="random policy", **_R8),
    ),
    "C15": rule("speed", faster(16, 5.0, network=R2PLUS1D)),
    "C16": rule("speed", faster(16, 10.0, network=I3D)),
    "C17": rule("speed", Part("clips a second gained, least of all", measures.speed_gain(least=True), 0.0, unit="%")),
    "C18": rule("table_4_2", *beats_static(_I16), Part("GFLOPs saved, I3D minus R(2+1)D", _SAVINGS, 0.0)),
    "C19": rule("table_4_2", *beats_static(_X16, low=NO_LOSS)),
    "C20": rule("table_4_3", *beats_static(*(at("r2plus1d_18_tpn", frames) for frames in (8, 16)))),
    "C21": rule("table_4_4", *beats_static(at("r2plus1d_18_corrnet", 16))),
    "C22": rule("table_4_4", *beats_baseline("ar_net", at("tsn_resnet50", 16), name="AR-Net", low=-100.0, high=0.0)),
    "C23": rule("table_4_4", Part("parameters less than AR-Net's", _fewer_parameters, 62 - ABOUT, unit="%")),
    "C24": rule("table_4_5", *beats_static(at(R2PLUS1D, 16, KINETICS_400), metrics=_ALL)),
    "C25": rule("table_4_5", *beats_static(at(I3D, 16, KINETICS_400), metrics=_ALL)),
    "C26": rule("table_4_5", *beats_static(at(X3D, 16, KINETICS_400), metrics=_ALL)),
    "C27": rule(
        "table_4_6", *beats_static(at(R2PLUS1D, 32, KINETICS_400), metrics=(VIDEO1, VIDEO5)),
        gains(CLIP1, NO_LOSS, **at(R2PLUS1D, 32, KINETICS_400)),
    ),
    "C28": rule("table_4_6", *beats_static(at(I3D, 32, KINETICS_400), metrics=_ALL)),
    "C29": rule("table_4_7", *beats_static(*(at(backbone, 16, MOMENTS) for backbone in (R2PLUS1D, I3D, X3D)))),
    "C30": rule("table_4_1", Part("clip-1, dynamic minus static, least of all networks", _LEAST_GAIN, 0.0)),
    "C31": rule("table_4_2", saves(40 - ABOUT, **_I16), saves(0, 20, **_X16)),
    "C32": Rule(untested="no network is trained at several frame strides"),
    "C33": rule(
        "table_4_2", Part(f"I3D: {_SPREAD}", measures.spread(**DYNAMIC | _I16), high=5.0, unit="%"),
        Part("the same, I3D minus R(2+1)D", _SPREADS, high=0.0),
    ),
    "C34": rule("table_4_8", *beats_baseline("pruned", _R8, _R16, _R32, name="pruning", low=-5.0, high=5.0)),
    "C35": rule("table_4_8", *beats_baseline("cgnet", _R8, _R16, _R32, name="CGNet", low=-100.0, high=0.0)),
    "C36": Rule(untested=_LOCALISATION),
    "C37": Rule(untested=_LOCALISATION),
    "C38": rule(
        "table_4_10", Part("GFLOPs, after minus before phase 2", _PHASE_2, high=-SAVES, unit="%"),
        gains(CLIP1, NO_LOSS, against=_BEFORE, name="before phase 2", **_R8),
    ),
    "C39": rule("table_4_10", Part("GFLOPs saved before phase 2", _SAVED_BEFORE, high=15.0, unit="%")),
    "C40": rule("table_4_11", *best_of_ablation(8)),
    "C41": rule("table_4_12", *best_of_ablation(16)),
    "C42": rule(
        "table_4_1", gains(CLIP1, against=_MEAN, name="mean policy", **_R8),
        gains(CLIP1, against=_RANDOM, name="random policy", **_R8),
    ),
    "C54": rule("table_b_2", *beats_static(at(X3D, 16, KINETICS_400, training="long"))),
    "C61": rule("table_4_1", Part(
        "training minus validation accuracy, dynamic minus static of equal epochs", high=0.0,
        measure=measures.difference_of(measures.overfit_of, DYNAMIC | _R8, EQUAL_EPOCHS | _R8),
    )),
}  # fmt: skip
