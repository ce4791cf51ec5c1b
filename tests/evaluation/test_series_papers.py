"""The tables of TSESNet and HCNet: rows that can be built, to the published counts, with the published figures beside them."""

from __future__ import annotations

import pytest

from napari_breastseg.errors import InputError
from napari_breastseg.evaluation.papers import Row, paper_table


def rows_of(method: str, number: int) -> dict[str, Row]:
    return {row.key: row for row in paper_table(method, number).with_windows(64)}


def parameters(row: Row) -> int:
    assert row.preset is not None and row.preset.patch == (64, 64, 64) and row.preset.window is None
    return row.preset.parameters()


def test_the_fusions_of_tsesnet_have_the_published_counts_and_figures() -> None:
    rows = rows_of("tsesnet", 4)
    assert list(rows) == ["mean-pool", "cnn", "bottleneck", "paper"]
    assert [row.figures["dice"] for row in rows.values()] == [0.6631, 0.6317, 0.7243, 0.7895]
    for row in rows.values():
        assert parameters(row) / 1e6 == pytest.approx(row.figures["parameters_millions"], rel=0.015)
    assert rows["paper"].figures["hd95"] == 6.14 and rows["paper"].figures["recall"] == 0.7913


def test_the_ablation_of_tsesnet_adds_one_part_after_the_other() -> None:
    rows = rows_of("tsesnet", 3)
    assert [row.marks for row in rows.values()] == [(), ("TA",), ("TA", "TSC"), ("TA", "TSC", "TSFF")]
    assert [row.figures["dice"] for row in rows.values()] == [0.6341, 0.7014, 0.7151, 0.7895]
    backbone, attention, contrast, full = (parameters(row) for row in rows.values())
    assert backbone < attention == contrast < full == 103_057_665  # the loss has no parameters
    losses = {id(row.preset.loss) for row in rows.values() if row.preset}
    assert len(losses) == 2


def test_tsesnet_is_compared_with_one_phase_of_nnunet() -> None:
    rows = rows_of("tsesnet", 1)
    assert parameters(rows["nnunet"]) == 31_189_410
    assert rows["nnunet"].preset is not None and rows["nnunet"].preset.channels == 1


def test_hcnet_stands_between_its_two_controls() -> None:
    rows = rows_of("hcnet", 1)
    assert [row.figures["dice"] for row in rows.values()] == [0.4629, 0.6070, 0.6372]
    assert parameters(rows["resunet"]) == 5_102_401
    sees = {key: row.preset.before_contrast for key, row in rows.items() if row.preset}
    assert sees == {"resunet": True, "paper": True, "resunet-post": False}


def test_more_clusters_need_more_labels() -> None:
    rows = rows_of("hcnet", 2)
    counts = [parameters(row) for row in rows.values()]
    # One label more: a column of the table in KIFB (16), a row of the head of HIPM (48 and its bias).
    assert [after - before for before, after in zip(counts, counts[1:], strict=False)] == [2 * (16 + 49)] * 4


def test_tables_that_are_not_here_are_named_in_words() -> None:
    with pytest.raises(InputError, match="Table 2 of tsesnet is not here. Choose one of: 1, 3, 4"):
        paper_table("tsesnet", 2)
    with pytest.raises(InputError, match="no tables of 'u-net'"):
        paper_table("u-net", 1)
