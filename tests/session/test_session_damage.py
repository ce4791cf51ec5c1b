"""Damage is found and told, never returned as data."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import BreastSegError, ModelError, SessionError
from napari_breastseg.evaluation.session_trials.bit_flips import Example, answers, example, flip, problems_of
from napari_breastseg.evaluation.session_trials.material import random_edit, small_prediction
from napari_breastseg.session import Session


@pytest.fixture
def kept(folder: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """A closed session with one of everything: its folder, its case and its model."""
    made = example(folder, tmp_path / "weights.safetensors")
    assert problems_of(folder) == []
    return made.folder, made.case_id, made.sha


def change_row(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "session.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE edit SET tool='pen' WHERE seq=5",
        "UPDATE edit SET mask=zeroblob(length(mask)) WHERE seq=5",
        "DELETE FROM edit WHERE seq=13",
        "DELETE FROM edit WHERE seq=6",
        "DELETE FROM mark",
        "DELETE FROM model",
        "DELETE FROM round",
        "DELETE FROM prediction",
        "DELETE FROM snapshot WHERE seq=8",
        'DELETE FROM "case"',
        "UPDATE round SET adopted=0",
        "UPDATE head SET value='13' WHERE name='rows/event'",
        "UPDATE head SET value='null' WHERE name='current-model'",
    ],
)
def test_rows_that_changed_or_vanished_are_found(kept: tuple[Path, str, str], statement: str) -> None:
    change_row(kept[0], statement)
    assert problems_of(kept[0])


@pytest.mark.parametrize("addition", ["CREATE TABLE x(y)", "CREATE TRIGGER t AFTER INSERT ON edit BEGIN DELETE FROM edit; END"])
def test_a_database_with_other_tables_or_triggers_is_refused(kept: tuple[Path, str, str], addition: str) -> None:
    change_row(kept[0], addition)
    with pytest.raises(SessionError, match="other tables"):
        Session.open(kept[0])


def test_a_session_of_a_newer_version_is_refused(kept: tuple[Path, str, str]) -> None:
    change_row(kept[0], "PRAGMA user_version=99")
    with pytest.raises(SessionError, match="newer"):
        Session.open(kept[0])


@pytest.mark.parametrize("how", ["missing", "chunk", "metadata", "empty"])
def test_a_bad_snapshot_means_an_earlier_one_and_more_replay(
    kept: tuple[Path, str, str], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder, case_id, _ = kept
    with Session.open(folder) as session:
        expected = session.annotation(case_id)
    snapshot = folder / "labels" / case_id / "8.zarr"
    chunk = next(path for path in snapshot.rglob("*") if path.is_file() and path.suffix != ".json")
    match how:
        case "missing":
            shutil.rmtree(snapshot)
        case "chunk":
            flip(chunk, 8 * 10)
        case "metadata":
            flip(snapshot / "0" / "zarr.json", 801)
        case _:
            chunk.write_bytes(b"")
    with Session.open(folder) as session, caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(session.annotation(case_id), expected)
        assert "8.zarr" in caplog.text
        assert any("8.zarr" in problem for problem in session.verify())


def test_a_damaged_edit_is_bridged_by_a_later_snapshot_only(kept: tuple[Path, str, str]) -> None:
    folder, case_id, _ = kept
    with Session.open(folder) as session:
        expected = session.annotation(case_id)
    change_row(folder, "UPDATE edit SET new=zeroblob(1) WHERE seq=6")
    with Session.open(folder) as session:
        np.testing.assert_array_equal(session.annotation(case_id), expected)
        session.annotation(case_id, 5)
        with pytest.raises(SessionError, match="Edit 6"):
            session.annotation(case_id, 7)


def test_damaged_voxels_and_weights_are_never_returned(kept: tuple[Path, str, str]) -> None:
    folder, case_id, sha = kept
    chunks = [path for path in (folder / "cases").rglob("*") if path.is_file() and path.suffix != ".json"]
    for chunk in chunks:
        flip(chunk, 8 * 100 + 3)
    flip(folder / "models" / f"{sha}.safetensors", 900)
    with Session.open(folder) as session:
        with pytest.raises(SessionError, match="cannot be read"):
            session.case(case_id).phase(0)
        with pytest.raises(ModelError, match="damaged"):
            session.model_path(sha)
        with pytest.raises(ModelError):
            session.use_model(sha)
        assert sum("is damaged" in problem for problem in session.verify()) == len(chunks) + 1
        session.record(case_id, random_edit(np.random.default_rng(1), 13))


def test_adding_a_damaged_model_again_mends_it(kept: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, _, sha = kept
    flip(folder / "models" / f"{sha}.safetensors", 900)
    with Session.open(folder) as session:
        assert session.add_model(tmp_path / "weights.safetensors", {"preset": "another"}) == sha
        assert session.verify() == []
        assert session.models()[0].card == {"preset": "p"}


def test_missing_files_are_named(kept: tuple[Path, str, str]) -> None:
    folder, case_id, sha = kept
    shutil.rmtree(folder / "predictions")
    (folder / "models" / f"{sha}.json").unlink()
    with Session.open(folder) as session:
        with pytest.raises(SessionError, match="missing"):
            session.prediction(case_id)
        text = " ".join(session.verify())
    assert "predictions/1.zarr/zarr.json is missing" in text
    assert f"models/{sha}.json is missing" in text


def test_links_that_lead_out_are_refused(kept: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, case_id, sha = kept
    for name in (f"models/{sha}.safetensors", f"cases/{case_id}.ome.zarr", "predictions", f"labels/{case_id}"):
        (folder / name).rename(tmp_path / "elsewhere")
        (folder / name).symlink_to(tmp_path / "elsewhere")
        for read_only in (True, False):
            with pytest.raises(SessionError, match="out of the session"):
                Session.open(folder, read_only)
        (folder / name).unlink()
        (tmp_path / "elsewhere").rename(folder / name)
    array = f"cases/{case_id}.ome.zarr/0/c"
    (folder / array).rename(tmp_path / "elsewhere")
    (folder / array).symlink_to(tmp_path / "elsewhere")
    with Session.open(folder) as session:
        with pytest.raises(BreastSegError, match="out of the session"):
            session.case(case_id)
        assert any("out of the session" in problem for problem in session.verify())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET name='rows/edit/x' WHERE name LIKE 'rows/edit/%'",
        "UPDATE head SET name='current-mode' WHERE name='current-model'",
        "UPDATE mark SET case_id='x'",
        "UPDATE prediction SET case_id='x'",
        "UPDATE snapshot SET case_id='x' WHERE seq=4",
        "UPDATE edit SET case_id='x' WHERE seq=13",
        "UPDATE round SET case_ids='[]'",
    ],
)
def test_what_is_hidden_by_a_damaged_key_is_not_read_as_if_it_had_never_been(kept: tuple[Path, str, str], statement: str) -> None:
    made = Example(*kept)
    truth = answers(made)
    change_row(made.folder, statement)
    said = answers(made)
    assert {question: answer for question, answer in said.items() if answer != truth[question]} == {}
    assert problems_of(made.folder)
    with Session.open(made.folder) as session:
        session.verify()


def test_verify_sees_one_state_while_others_write(session: Session, case_id: str) -> None:
    rng = np.random.default_rng(0)
    go_on = threading.Event()

    def write() -> None:
        while not go_on.is_set():
            session.record(case_id, random_edit(rng, session.seq(case_id)))
            if session.seq(case_id) % 5 == 0:
                session.add_prediction(case_id, small_prediction(0))
                session.snapshot(case_id)
                session.compact()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert [session.verify() for _ in range(8)] == [[]] * 8
        with Session.open(session.path, read_only=True) as reader:
            assert [reader.verify() for _ in range(8)] == [[]] * 8
    finally:
        go_on.set()
        thread.join()
    assert session.seq(case_id) > 1
