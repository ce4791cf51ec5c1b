from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "or a --protocol"),
        (("--case", "x"), "belong together"),
        (("--protocol", "p1", "--reference", "x"), "belong together"),
        (("--protocol", "p9"), "p9"),
        (("--protocol", "p3", "--case", "x", "--reference", "y", "--start-errors"), "Leave one of both out"),
        (("--protocol", "p2", "--seeds", "0"), "seeds"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...], text: str) -> None:
    said = cli("simulate", *arguments)
    assert said.code == 2 and text in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--protocol", "p2", "--case", "case", "--reference", "case/truth.nii.gz"), "p2 needs a stream of cases"),
        (("--protocol", "p1", "--case", "case", "--reference", "none.nii.gz"), "none.nii.gz"),
        (("--protocol", "p1", "--recipes", "full,magic"), "no recipe 'magic'"),
        (("--protocol", "p3", "--model", "none"), "no model 'none'"),
        (("--start-errors", "--case", "case", "--reference", "none.nii.gz"), "none.nii.gz"),
    ],
)
def test_refusals_are_one_sentence_and_leave_nothing(
    cli: Cli, phases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(phases.parent)
    said = cli("simulate", *arguments, "--json")
    assert said.code == 1 and text in said.answer["error"] and "Traceback" not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("protocol", "recipes"), [("p1", "frozen"), ("p3", "frozen,learn")])
def test_a_protocol_on_a_case_of_ones_own(cli: Cli, phases: Path, weights: Path, tmp_path: Path, protocol: str, recipes: str) -> None:
    common = ("--case", phases, "--reference", phases / "truth.nii.gz", "--model", weights, "--seeds", "1", "--out", tmp_path / "out")
    common = (*common, "--recipes", recipes)
    said = cli("simulate", "--protocol", protocol, *common, "--json")
    assert said.code == 0, said.err
    assert {row["recipe"] for row in said.answer["rows"]} == set(recipes.split(","))
    assert all(Path(file).is_file() for file in said.answer["files"])
    again = cli("simulate", "--protocol", protocol, *common)
    assert again.code == 0 and "frozen" in again.out and f"{protocol}.json" in again.out.replace("\n", "")
