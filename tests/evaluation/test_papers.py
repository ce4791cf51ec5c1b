"""The rows of the three tables, and the Markdown with the paper's figures beside ours."""

from __future__ import annotations

from typing import Any

import pytest

from napari_breastseg.evaluation.papers import Row, hcma_unet, paper_table
from napari_breastseg.evaluation.tables import HEADINGS, markdown


def table_rows(table: int, patch: int) -> list[Row]:
    return paper_table("hcma-unet", table).with_windows(patch)


def test_table_1_has_nine_networks_without_and_with_frloss() -> None:
    rows = table_rows(1, 48)
    assert len(rows) == 18 and len({row.key for row in rows}) == 18
    for without, with_it in zip(rows[::2], rows[1::2], strict=True):
        assert (without.label, without.terms) == (with_it.label, ())
        assert with_it.terms == ("pos", "boundary", "neg") and with_it.key == f"{without.key}+frloss"
    built = {row.key: row.preset.parameters() for row in rows if row.preset and not row.terms}
    assert built["hcma-unet"] == 2_872_984
    assert built["nnunet"] == 31_189_410
    assert all(row.missing for row in rows if row.preset is None)
    assert all(row.preset.patch == (48, 48, 48) and row.preset.channels == 1 for row in rows if row.preset)


def test_table_2_has_the_published_counts() -> None:
    rows = table_rows(2, 64)
    assert [row.figures["parameters_millions"] for row in rows] == [2.58, 3.19, 2.76, 4.01, 2.87, 3.22]
    for row in rows:
        assert row.preset is not None and not row.terms
        assert round(row.preset.parameters() / 1e6, 2) == row.figures["parameters_millions"]
    assert [row.figures["gflops"] for row in rows if "gflops" in row.figures] == [126.44]


def test_table_3_has_every_subset_of_the_terms_once() -> None:
    rows = table_rows(3, 64)
    subsets = {frozenset(s for s, bit in zip(("pos", "boundary", "neg"), f"{i:03b}", strict=True) if bit == "1") for i in range(8)}
    assert {frozenset(row.terms) for row in rows} == subsets and len(rows) == 8


def report(table: int) -> dict[str, Any]:
    paper = paper_table("hcma-unet", table)
    figures = {metric: {"mean": 0.5 + i / 10, "ci95": [0.1, 0.9], "undefined": i} for i, metric in enumerate(paper.metrics)}
    rows = [
        {
            "key": row.key, "label": row.label, "marks": list(row.marks), "parameters": row.preset.parameters() if row.preset else None,
            "missing": row.missing, "published": dict(row.figures), "patients": 3, "metrics": figures if row.preset else {}, "healthy": 0,
        }
        for row in table_rows(table, 64)
    ]  # fmt: skip
    split = {"test_share": 0.2, "folds": 0, "patient": "", "seed": 0, "table": ""}
    return {
        "settings": {
            "method": "hcma-unet",
            "table": table,
            "steps": 1,
            "batch": 1,
            "patch": 64,
            "learning_rate": 1e-3,
            "seeds": 1,
            "split": split,
        },
        "reference": "",
        "flat": False,
        "rows": rows,
        "title": paper.title,
        "of": paper.of,
        "marks": list(paper.marks),
        "metrics": list(paper.metrics),
        "papers_settings": paper.settings,
    }


@pytest.mark.parametrize("table", [1, 2, 3])
def test_the_markdown_has_the_papers_columns(table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hcma_unet.PUBLISHED[table], table_rows(table, 64)[-1].key, {"dice": 0.123})
    text = markdown(report(table))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert len(rows) == {1: 18, 2: 6, 3: 8}[table] and all(len(row) == len(heads) for row in rows)
    for i, heading in enumerate(HEADINGS[metric] for metric in paper_table("hcma-unet", table).metrics):
        column = heads.index(heading)
        assert rows[-1][column] == f"{0.5 + i / 10:.3f} (0.100 to 0.900)"
        if heading == "Dice":
            assert heads[column + 1] == "paper" and (rows[0][column + 1], rows[-1][column + 1]) == ("-", "0.123")
        else:  # of the others the paper's value is known of no row
            assert heads[column + 1 : column + 2] != ["paper"]
    assert "evaluation/papers" in text and "VS of up to 4 case(s)" in text
    if table == 1:
        assert sum("needs the authors' code" in line for line in lines) == 10
    if table == 3:
        chosen = [[row[heads.index(term)] for term in ("pos", "boundary", "neg")] for row in rows]
        assert chosen[0] == ["no"] * 3 and chosen[-1] == ["yes"] * 3
