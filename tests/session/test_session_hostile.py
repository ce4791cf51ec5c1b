"""A session received from a stranger: nothing outside of it is read or written, nothing is executed, and what is wrong is said."""

from __future__ import annotations

import json
import os
import pickle
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs.zstd import Zstd

from napari_breastseg.errors import BreastSegError, ModelError, SessionError
from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.session import Session, Version
from napari_breastseg.session.disk.images import StoredImage, create_image, fill
from napari_breastseg.session.disk.manifests import manifest_of
from napari_breastseg.session.disk.packing import checksum
from napari_breastseg.session.schema import TABLES
from napari_breastseg.session.upkeep.bits import crc32c

from .helpers import make_case, make_prediction

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and limits are POSIX's")


@pytest.fixture
def kept(folder: Path, weights: Callable[[int], Path]) -> tuple[Path, str]:
    """A closed session with one of everything."""
    rng = np.random.default_rng(0)
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        for base in range(5):
            session.record(case_id, random_edit(rng, base))
        session.snapshot(case_id)
        session.add_prediction(case_id, make_prediction())
        sha = session.add_model(weights(0), {"preset": "p"})
        session.use_model(sha)
        session.add_round([case_id], None, sha, True, ["better"], {"dice": 0.5}, {case_id: 5})
        session.mark(case_id, "case-done", True)
    return folder, case_id


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may change."""
    place = tmp_path / "outside"
    (place / ".tmp-important").mkdir(parents=True)
    (place / "secret").write_bytes(b"do not touch")
    before = {path: path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))}
    yield place
    assert {path: path.read_bytes() if path.is_file() else None for path in sorted(place.rglob("*"))} == before


@contextmanager
def little_memory() -> Iterator[None]:
    """Let an attempt to take a gigabyte fail rather than succeed unnoticed."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def forge(folder: Path, table: str, **values: object) -> None:
    """Change the last row of a table and give it the checksum of an honest one."""
    with closing(sqlite3.connect(folder / "session.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute(f'SELECT rowid AS place, * FROM "{table}" ORDER BY rowid DESC').fetchone()
        changed = {name: values.get(name, row[name]) for name in row.keys() if name not in ("place", "crc")}
        names = ", ".join(f"{name}=?" for name in [*changed, "crc"])
        connection.execute(f'UPDATE "{table}" SET {names} WHERE rowid=?', [*changed.values(), checksum(changed.values()), row["place"]])
        connection.commit()


def use(folder: Path, case_id: str) -> list[str]:
    """Do all that a person can do with a session; each step gives a value or one sentence, never another error."""
    told: list[str] = []

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except BreastSegError as error:
            told.append(str(error))

    def steps(session: Session) -> None:
        said = session.verify()
        told.extend(said)
        case_ids = [case_id, *session.cases]
        for one in case_ids:
            for step in (session.annotation, session.edits, session.marks, session.predictions, session.prediction, session.mask):
                attempt(lambda step=step, one=one: step(one))  # type: ignore[misc]
            attempt(lambda one=one: session.case(one).phase(0))  # type: ignore[misc]
            attempt(lambda one=one: dict(getattr(session.prediction(one), "maps", {})))  # type: ignore[misc]
            attempt(lambda one=one: session.timeline(one))  # type: ignore[misc]
            attempt(lambda one=one: session.compare(one, Version(0, None), session.now(one)))  # type: ignore[misc]
            attempt(lambda one=one: session.export(one, folder.parent / "export"))  # type: ignore[misc]
            attempt(lambda one=one: session.undo(one))  # type: ignore[misc]
        for whole in (session.models, session.rounds, session.events, session.repair, session.compact):
            attempt(whole)
        attempt(lambda: session.model_path(str(session.current_model)))

    def everything() -> None:
        with Session.open(folder) as session:
            for step in (lambda: steps(session),):
                attempt(step)

    attempt(everything)
    return told


def test_an_honest_session_gives_no_refusal(kept: tuple[Path, str]) -> None:
    assert use(*kept) == []


@pytest.mark.parametrize("name", ["cases", "labels", "predictions", "models", "damaged", "work", "cases/CASE.ome.zarr", "labels/CASE"])
def test_a_folder_that_leads_out_is_refused(kept: tuple[Path, str], outside: Path, name: str) -> None:
    folder, case_id = kept
    path = folder / name.replace("CASE", case_id)
    if path.exists():
        path.rename(folder.parent / "moved")
    path.symlink_to(outside)
    for read_only in (True, False):
        with pytest.raises(SessionError, match="leads out of the session"):
            Session.open(folder, read_only)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["LOCK", "session.sqlite-wal", "session.sqlite-shm", "session.sqlite-journal"])
def test_a_file_written_in_place_is_no_other_file(
    kept: tuple[Path, str], outside: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    folder, _ = kept
    (folder / name).unlink(missing_ok=True)
    link(folder / name, outside / "secret")
    with pytest.raises(SessionError, match="no plain file of its own"):
        Session.open(folder)


@pytest.mark.parametrize("name", ["LOCK", "session.sqlite-wal"])
def test_a_pipe_does_not_stop_the_program(kept: tuple[Path, str], name: str) -> None:
    (kept[0] / name).unlink(missing_ok=True)
    os.mkfifo(kept[0] / name)
    with pytest.raises(SessionError, match="no plain file"):
        Session.open(kept[0])


@pytest.mark.parametrize("name", ["../../../outside/secret", "/etc/hostname", "0/../../../../outside/secret"])
def test_a_manifest_that_climbs_out_is_refused(kept: tuple[Path, str], outside: Path, name: str) -> None:
    folder, case_id = kept
    forge(folder, "case", manifest=json.dumps({name: [12, "0" * 64], "zarr.json": [1, "0" * 64], "0/zarr.json": [1, "0" * 64]}))
    assert any("leads out of the session" in sentence for sentence in use(folder, case_id))


@pytest.mark.parametrize("case_id", ["../../outside/x", "..", "a/b", "", "a" * 99, "A'; DROP TABLE edit; --"])
def test_a_case_id_is_no_path_and_no_command(kept: tuple[Path, str], outside: Path, case_id: str) -> None:
    folder, honest = kept
    forge(folder, "case", case_id=case_id)
    assert use(folder, honest)
    connection = sqlite3.connect(folder / "session.sqlite")
    assert connection.execute("SELECT count(*) FROM edit").fetchone()[0] >= 5
    connection.close()


@pytest.mark.parametrize("text", ["'; DROP TABLE edit; --", '"; DELETE FROM edit; --', "<img src='//host/share'>", "\x00", "a\ud800b"])
def test_names_and_tools_are_data(session: Session, text: str) -> None:
    case = make_case()
    object.__setattr__(case, "name", text)
    try:
        case_id = session.add_case(case)
        edit = random_edit(np.random.default_rng(0), 0)
        object.__setattr__(edit, "tool", text)
        session.record(case_id, edit)
        session.mark(case_id, "case-done", text)
    except BreastSegError:
        assert "\ud800" in text, "only what is no text at all is refused"
        return
    assert (session.case(case_id).name, session.edits(case_id)[0].tool, session.marks(case_id)[0].value) == (text, text, text)
    assert session.verify() == []


@pytest.mark.parametrize(
    "shape",
    ["[2, 100000, 100000, 100000]", "[99999999, 6, 16, 20]", "[0, 6, 16, 20]", "[2, 6, -16, 20]", "[1e300, 1, 1, 1]", "[6, 16, 20]"],
)
def test_a_huge_or_impossible_shape_is_refused_before_memory_is_taken(kept: tuple[Path, str], shape: str) -> None:
    folder, case_id = kept
    forge(folder, "case", shape=shape)
    with little_memory():
        assert use(folder, case_id)


def test_an_edit_outside_the_case_changes_nothing(kept: tuple[Path, str]) -> None:
    folder, case_id = kept
    for box in ("[[0, 1000000], [0, 1000000], [0, 1000000]]", "[[-3, 2], [0, 4], [0, 4]]", "[[0, 1], [0, 1]]", "7"):
        forge(folder, "edit", box=box)
        with little_memory():
            assert any("makes no sense" in sentence for sentence in use(folder, case_id))


def reforged(folder: Path, case_id: str, change: Callable[[Path], None]) -> None:
    """Change the files of the case's images and list them as if that were right."""
    image = folder / "cases" / f"{case_id}.ome.zarr"
    change(image)
    forge(folder, "case", manifest=json.dumps(manifest_of(image)))


def bomb(image: Path, frames: int) -> None:
    """Put one GiB of zeros, as one frame or as a second frame behind a good one, into each chunk; all checksums are right."""
    for path in (path for path in image.rglob("*") if path.is_file() and path.suffix != ".json"):
        frame = Zstd(3).encode(bytes(2**30))
        if frames == 2:
            frame = Zstd(3).encode(bytes(6 * 16 * 20 * 4)) + frame
        chunk = frame + crc32c(frame).to_bytes(4, "little")
        index = np.array([0, len(chunk)], "<u8").tobytes()
        path.write_bytes(chunk + index + crc32c(index).to_bytes(4, "little"))


@pytest.mark.parametrize("frames", [1, 2])
def test_a_chunk_that_unpacks_to_gigabytes_is_refused(kept: tuple[Path, str], frames: int) -> None:
    folder, case_id = kept
    reforged(folder, case_id, lambda image: bomb(image, frames))
    with Session.open(folder) as session, little_memory(), pytest.raises(SessionError, match="not one frame of its size"):
        session.case(case_id).phase(0)


def test_the_bomb_of_the_test_above_would_go_off(kept: tuple[Path, str]) -> None:
    """Without the check zarr decodes the whole of it."""
    folder, case_id = kept
    image = folder / "cases" / f"{case_id}.ome.zarr"
    bomb(image, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Exception):  # noqa: B017
        np.asarray(zarr.open_array(str(image / "0"), mode="r")[...])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 2**19, "KiB"


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": []},
        {"shape": [2, 6, 16, 2**40]},
        {"data_type": "string"},
        {"storage_transformers": [{"name": "x"}]},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 6, 16, 2**40]}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
    ],
)
def test_an_array_with_other_metadata_is_never_decoded(kept: tuple[Path, str], change: dict[str, object]) -> None:
    folder, case_id = kept

    def rewrite(image: Path) -> None:
        metadata = image / "0" / "zarr.json"
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | change))

    reforged(folder, case_id, rewrite)
    with Session.open(folder) as session, little_memory(), pytest.raises(SessionError, match="cannot be read"):
        session.case(case_id).phase(0)


def test_missing_shards_are_not_taken_for_zeros(kept: tuple[Path, str]) -> None:
    folder, case_id = kept
    reforged(folder, case_id, lambda image: (image / "0" / "c" / "1" / "0" / "0" / "0").unlink())
    with Session.open(folder) as session, pytest.raises(SessionError, match="missing"):
        session.case(case_id).phase(1)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_pickled_weights_and_code_are_never_run(kept: tuple[Path, str], tmp_path: Path) -> None:
    folder, case_id = kept
    evil = pickle.dumps(Payload(tmp_path / "ran"))
    for name in ("__init__.py", "conftest.py", "sitecustomize.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (weights,) = (folder / "models").glob("*.safetensors")
    weights.write_bytes(evil)
    for path in (folder / "predictions").rglob("c/*/*/*"):
        if path.is_file():
            path.write_bytes(evil)
    assert use(folder, case_id)
    with Session.open(folder) as session:
        foreign = tmp_path / "weights.safetensors"
        foreign.write_bytes(evil)
        with pytest.raises(ModelError, match="no safetensors"):
            session.add_model(foreign, {})
    assert not (tmp_path / "ran").exists()


NONSENSE = (-1, "[" * 100_000, b"\x00", "../../x")


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_no_forged_row_ends_in_anything_but_words(kept: tuple[Path, str], table: str) -> None:
    """Every column takes every nonsense, each with a right checksum; what cannot be stored at all is left out."""
    folder, case_id = kept
    database = folder / "session.sqlite"
    honest = database.read_bytes()
    connection = sqlite3.connect(database)
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")') if row[1] not in ("crc", "id")]
    connection.close()
    refused = 0
    for column in columns:
        for nonsense in NONSENSE:
            database.write_bytes(honest)
            try:
                forge(folder, table, **{column: nonsense})
            except sqlite3.IntegrityError:
                continue
            refused += bool(use(folder, case_id))
    assert refused >= len(columns), "most of it is noticed"


@pytest.mark.parametrize("text", ["[" * 4000, '{"started": "0001-01-01T00:00:00+14:00"}', '{"started": 7}', "7"])
def test_a_forged_lock_is_only_a_text(kept: tuple[Path, str], text: str) -> None:
    (kept[0] / "LOCK").write_text(text)
    with Session.open(kept[0]) as session:
        assert session.cases == [kept[1]]


def test_labels_that_are_none_are_refused(kept: tuple[Path, str]) -> None:
    folder, case_id = kept
    forge(folder, "edit", new=bytes([7]))
    with Session.open(folder) as session, pytest.raises(SessionError, match="makes no sense"):
        session.annotation(case_id, 5)
        session._open.annotations.snapshots.thin()
        session.timeline(case_id)
        raise SessionError("makes no sense: only a snapshot was read")


def test_a_prediction_with_channels_in_the_place_of_a_mask_is_refused(kept: tuple[Path, str]) -> None:
    folder, case_id = kept
    with closing(sqlite3.connect(folder / "session.sqlite")) as connection:
        ((arrays,),) = connection.execute("SELECT arrays FROM prediction").fetchall()
    for change in (["refined", [4096, 6, 16, 20], "|u1"], ["refined", [6, 16, 20], "<f8"], ["refined", [6, 16], "|u1"]):
        forge(folder, "prediction", arrays=json.dumps(json.loads(arrays) | {"refined": change}))
        with Session.open(folder) as session, pytest.raises(SessionError, match="makes no sense"):
            session.prediction(case_id)


def test_chunks_that_share_their_bytes_are_refused(kept: tuple[Path, str]) -> None:
    """Many entries of an index that point at one frame make a large image of a small file."""
    folder, _ = kept
    shape = (64, 128, 64)
    array = create_image(folder / "x.zarr", "x", shape, np.uint8, (1.0, 1.0, 1.0))
    fill(array, np.zeros(shape, np.uint8))
    manifest = manifest_of(folder / "x.zarr")
    assert StoredImage(folder, folder / "x.zarr", "0", manifest, shape, np.uint8)[...].shape == shape
    shard = folder / "x.zarr" / "0" / "c" / "0" / "0" / "0"
    data = shard.read_bytes()
    first = data[-36:-20]
    length = int(np.frombuffer(first, "<u8")[1])
    shard.write_bytes(data[:length] + first * 2 + crc32c(first * 2).to_bytes(4, "little"))
    with pytest.raises(SessionError, match="over each other"):
        StoredImage(folder, folder / "x.zarr", "0", manifest_of(folder / "x.zarr"), shape, np.uint8)
