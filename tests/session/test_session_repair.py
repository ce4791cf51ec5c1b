"""What is damaged is mended as far as anything still says what it was, and told; the rest stays as it is."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import SessionError
from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.session import Session
from napari_breastseg.session.disk.packing import checksum
from napari_breastseg.session.upkeep.bits import CRC32, CRC32C, crc32c, flipped_bit, with_flipped

from .helpers import make_case, make_prediction


@pytest.fixture
def kept(folder: Path, weights: Callable[[int], Path]) -> tuple[Path, str, list[np.ndarray]]:
    """A closed session of twelve edits with snapshots at 4 and 8: its folder, its case and its versions."""
    rng = np.random.default_rng(0)
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        for base in range(12):
            session.record(case_id, random_edit(rng, base))
            if base in (3, 7):
                session.snapshot(case_id)
        session.add_prediction(case_id, make_prediction())
        session.use_model(session.add_model(weights(0), {"preset": "p"}))
        session.mark(case_id, "case-done", True)
        versions = [session.annotation(case_id, at) for at in range(13)]
    return folder, case_id, versions


def repaired(folder: Path, case_id: str, versions: list[np.ndarray]) -> list[str]:
    """Repair, and check that nothing is wrong any more and that every version is what it was."""
    with Session.open(folder) as session:
        assert session.verify()
        said = session.repair()
        assert session.verify() == []
        assert session.repair() == []
        for at, version in enumerate(versions):
            np.testing.assert_array_equal(session.annotation(case_id, at), version)
        session.undo(case_id)
    return said


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "session.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("polynomial", [CRC32, CRC32C])
@pytest.mark.parametrize("size", [1, 7, 300])
def test_a_checksum_names_the_bit_that_was_flipped(polynomial: int, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    kept = zlib.crc32(data) if polynomial == CRC32 else crc32c(data)
    assert flipped_bit(data, kept, polynomial) is None
    for bit in range(8 * size):
        assert flipped_bit(with_flipped(data, bit), kept, polynomial) == bit
    assert flipped_bit(with_flipped(with_flipped(data, 0), 5), kept, polynomial) is None


@pytest.mark.parametrize("column", ["tool", "box", "mask", "new", "time", "voxels", "base", "crc"])
def test_one_flipped_bit_of_an_edit_is_flipped_back(kept: tuple[Path, str, list[np.ndarray]], column: str) -> None:
    folder, case_id, versions = kept
    connection = sqlite3.connect(folder / "session.sqlite")
    connection.text_factory = bytes
    ((value, kind),) = connection.execute(f"SELECT {column}, typeof({column}) FROM edit WHERE seq=6").fetchall()
    flipped = value ^ 4 if isinstance(value, int) else with_flipped(value, 8 * (len(value) // 2) + 2)
    cast = "CAST(? AS TEXT)" if kind in (b"text", "text") else "?"
    connection.execute(f"UPDATE edit SET {column}={cast} WHERE seq=6", (flipped,))
    connection.commit()
    connection.close()
    assert repaired(*kept) == [f"Edit 6 of {case_id} was mended: one bit had flipped."]
    with Session.open(folder) as session:
        assert session.edits(case_id)[5].tool == "brush"


def test_a_lost_edit_is_restored_from_those_around_it_and_a_later_snapshot(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, versions = kept
    change(folder, "UPDATE edit SET mask=zeroblob(9), new=zeroblob(3), old=zeroblob(2) WHERE seq=6")
    assert repaired(*kept) == [f"Edit 6 of {case_id} was restored from the edits and the label snapshots around it."]
    with Session.open(folder) as session:
        kept_aside = list((folder / "damaged").rglob("session.sqlite"))
        assert len(kept_aside) == 1 and session.edits(case_id)[5].tool == "brush"


def test_what_nothing_says_any_more_stays_as_it_is(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, versions = kept
    change(folder, "UPDATE edit SET mask=zeroblob(9) WHERE seq=10")
    with Session.open(folder) as session:
        assert session.repair() == []
        assert any("Edit 10" in problem for problem in session.verify())
        np.testing.assert_array_equal(session.annotation(case_id, 9), versions[9])
        with pytest.raises(SessionError, match="Edit 10"):
            session.annotation(case_id, 10)


@pytest.mark.parametrize("how", ["missing", "chunk", "another", "extra"])
def test_snapshots_are_written_anew_from_the_journal(kept: tuple[Path, str, list[np.ndarray]], how: str) -> None:
    folder, case_id, _ = kept
    snapshot = folder / "labels" / case_id / "8.zarr"
    chunk = next(path for path in snapshot.rglob("*") if path.is_file() and path.suffix != ".json")
    match how:
        case "missing":
            shutil.rmtree(snapshot)
        case "chunk":
            chunk.write_bytes(chunk.read_bytes()[::-1])
        case "another":
            shutil.rmtree(snapshot)
            shutil.copytree(folder / "labels" / case_id / "4.zarr", snapshot)
        case _:
            (snapshot / "more").write_text("x")
    assert repaired(*kept) == [f"labels/{case_id}/8.zarr was written anew from the journal."]


def test_a_head_entry_is_counted_or_chosen_again(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, _ = kept
    with Session.open(folder) as session:
        current = session.current_model
        session.keep_view(case_id, {"x": 1})
    change(folder, "UPDATE head SET value='99' WHERE name LIKE 'rows/%' OR name='current-model' OR name LIKE 'view/%'")
    said = repaired(*kept)
    assert any("current-model" in sentence for sentence in said)
    with Session.open(folder) as session:
        assert session.current_model == current and session.view(case_id) == {}


@pytest.mark.parametrize(
    "name", ["cases/*/zarr.json", "cases/*/0/zarr.json", "cases/*/0/c/1/0/0/0", "predictions/1.zarr/probability/0/c/0/0/0"]
)
def test_one_flipped_bit_of_an_image_is_flipped_back(kept: tuple[Path, str, list[np.ndarray]], name: str) -> None:
    folder = kept[0]
    (path,) = folder.glob(name)
    whole = path.read_bytes()
    path.write_bytes(with_flipped(whole, 8 * 300 + 5))
    assert repaired(*kept) == [f"{path.relative_to(folder).as_posix()} was mended: one bit had flipped."]
    assert path.read_bytes() == whole


def test_a_card_is_written_anew_and_a_strange_file_put_aside(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, _ = kept
    (card,) = (folder / "models").glob("*.json")
    card.write_text("{}")
    strange = folder / "cases" / f"{case_id}.ome.zarr" / "0" / "x.py"
    strange.write_text("import os")
    assert sorted(repaired(*kept)) == [
        f"cases/{case_id}.ome.zarr/0/x.py did not belong to the session and was put aside.",
        f"models/{card.name} was written anew from the journal.",
    ]
    assert [path.name for path in (folder / "damaged").rglob("x.py")] == ["x.py"]


def test_damaged_images_are_mended_by_adding_the_case_again(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, _ = kept
    shutil.rmtree(folder / "cases" / f"{case_id}.ome.zarr" / "0" / "c" / "1")
    with Session.open(folder) as session:
        assert session.verify()
        assert session.add_case(make_case()) == case_id
        assert session.verify() == []
        np.testing.assert_array_equal(np.asarray(session.case(case_id).images), make_case().images)


def test_an_index_that_disagrees_with_its_table_is_written_anew(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    """Move a row in the table behind the back of its index, by a byte in the file."""
    folder, case_id, versions = kept
    database = folder / "session.sqlite"
    with Session.open(folder) as session:
        session.repair()
    data = bytearray(database.read_bytes())
    connection = sqlite3.connect(database)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name='sqlite_autoindex_edit_1'").fetchone()
    connection.close()
    at = data.rindex(case_id.encode(), 4096 * (page - 1), 4096 * page)
    data[at] ^= 1
    database.write_bytes(data)
    assert "The database was written anew." in repaired(folder, case_id, versions)


def test_compacting_loses_nothing_but_room(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, versions = kept
    (folder / "predictions" / "7.zarr").mkdir()
    (folder / "predictions" / "7.zarr" / "leftover").write_bytes(bytes(100_000))
    with Session.open(folder) as session:
        assert session.compact() > 100_000
        assert session.verify() == []
        assert [path.name for path in (folder / "labels" / case_id).iterdir()] == ["8.zarr"]
        for at, version in enumerate(versions):
            np.testing.assert_array_equal(session.annotation(case_id, at), version)
        session.snapshot(case_id)
        assert session.verify() == [] and len(session.predictions(case_id)) == 1
    with Session.open(folder, read_only=True) as session, pytest.raises(SessionError, match="reading only"):
        session.compact()


def test_the_checksum_of_a_row_tells_types_and_borders_apart() -> None:
    rows = [("1",), (1,), (b"1",), (None,), ("1", None), ("", "1"), ("1", "")]
    assert len({checksum(row) for row in rows}) == len(rows)


def test_a_repair_while_another_process_reads_keeps_every_stroke(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    """A reader holds on to the log; strokes are in it that are not in the database's file yet."""
    folder, case_id, versions = kept
    change(folder, "UPDATE mark SET time=substr(time, 1, 22) || 'x'")
    change(folder, "UPDATE event SET kind='softward' WHERE kind='software'")
    with Session.open(folder) as session, Session.open(folder, read_only=True) as reader:
        with reader._open.journal.frozen() as frozen:
            before = frozen.light("SELECT count(*) FROM edit")
            for base in range(12, 40):
                session.record(case_id, random_edit(np.random.default_rng(base), base))
            expected = session.annotation(case_id)
            assert any("one bit had flipped" in sentence for sentence in session.repair())
            assert frozen.light("SELECT count(*) FROM edit") == before, "the reader sees what it saw"
        np.testing.assert_array_equal(session.annotation(case_id), expected)
        assert session.seq(case_id) == reader.seq(case_id) == 40
        (copy,) = (folder / "damaged").rglob("session.sqlite")
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT count(*) FROM edit").fetchone() == (40,), "what is kept has the newest strokes too"
    with Session.open(folder) as session:
        np.testing.assert_array_equal(session.annotation(case_id), expected)
        assert [problem for problem in session.verify() if "mark" not in problem] == []


def test_a_repair_that_the_disk_refuses_says_so_and_leaves_what_there_was(
    kept: tuple[Path, str, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, case_id, _ = kept
    (path,) = folder.glob("cases/*/0/c/1/0/0/0")
    flipped = with_flipped(path.read_bytes(), 77)
    path.write_bytes(flipped)
    change(folder, "UPDATE event SET kind='softward' WHERE kind='software'")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Session.open(folder) as session:
        with monkeypatch.context() as patched:
            patched.setattr("napari_breastseg.session.journal.overwrite", full)
            patched.setattr("napari_breastseg.session.upkeep.repair.publish", full)
            said = session.repair()
        assert len(said) == 2 and all("the disk is full" in sentence for sentence in said)
        assert path.read_bytes() == flipped and "repaired" not in [row["kind"] for row, _ in session._open.journal.rows_as_found("event")]
        assert len(session.repair()) == 2 and session.verify() == []


def test_a_damaged_counter_of_a_case_without_edits_is_counted_again(folder: Path) -> None:
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
    change(folder, "UPDATE head SET value='7' WHERE name LIKE 'rows/edit/%'")
    with Session.open(folder) as session:
        assert session.verify()
        session.repair()
        assert session.verify() == []
        session.record(case_id, random_edit(np.random.default_rng(0), 0))


@pytest.mark.parametrize("name", ["learning", "rows/event", "last-case", "identity"])
def test_a_damaged_entry_never_keeps_a_session_from_being_opened_for_repair(kept: tuple[Path, str, list[np.ndarray]], name: str) -> None:
    folder, case_id, _ = kept
    with Session.open(folder) as session:
        with session.learning({case_id: 1}):
            session.keep_view(case_id, {})
        (folder / "LOCK").write_text('{"pid": 1, "started": "yesterday"}')
    change(folder, f"INSERT OR REPLACE INTO head VALUES('{name}', 'x', 1)")
    (folder / "LOCK").write_text('{"pid": 1, "started": "0001-01-01T00:00:00+14:00"}')
    with Session.open(folder) as session:
        assert any(name in problem for problem in session.verify())
        assert any(name in sentence for sentence in session.repair())
        assert session.verify() == []


def test_an_edit_restored_from_around_it_can_be_undone(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, versions = kept
    change(folder, "UPDATE edit SET undoes=99, time='yesterday', mask=zeroblob(3) WHERE seq=6")
    assert repaired(*kept) == [f"Edit 6 of {case_id} was restored from the edits and the label snapshots around it."]
    with Session.open(folder) as session:
        assert session.timeline(case_id)
        while session.undo(case_id) is not None:
            continue
        np.testing.assert_array_equal(session.annotation(case_id), versions[0])


def test_what_cannot_be_mended_does_not_keep_the_rest_from_it(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, _, _ = kept
    with Session.open(folder) as session:
        session.add_prediction(session.cases[0], make_prediction(1))
    change(folder, "UPDATE prediction SET details='lost', model='lost' WHERE id=2")
    (path,) = folder.glob("predictions/1.zarr/refined/0/c/0/0/0")
    path.write_bytes(with_flipped(path.read_bytes(), 99))
    with Session.open(folder) as session:
        assert session.repair() == [f"{path.relative_to(folder).as_posix()} was mended: one bit had flipped."]


def test_a_vanished_counter_never_makes_a_prediction_take_the_place_of_another(kept: tuple[Path, str, list[np.ndarray]]) -> None:
    folder, case_id, _ = kept
    change(folder, "DELETE FROM head WHERE name='rows/prediction'")
    with Session.open(folder) as session:
        with pytest.raises(SessionError, match="vanished"):
            session.add_prediction(case_id, make_prediction(1))
        assert [path.name for path in (folder / "predictions").iterdir()] == ["1.zarr"]
        assert not [problem for problem in session.verify() if "predictions/" in problem]
