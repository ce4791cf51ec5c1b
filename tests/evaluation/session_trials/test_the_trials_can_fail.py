"""Each trial tells when a promise is broken: what it compares is what was promised."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.evaluation.session_trials import bit_flips as flips
from napari_breastseg.evaluation.session_trials import mounts, power
from napari_breastseg.evaluation.session_trials.audit import Audit
from napari_breastseg.evaluation.session_trials.bit_flips import Example, answers, example, flip, outcomes_of
from napari_breastseg.evaluation.session_trials.history import History, take
from napari_breastseg.evaluation.session_trials.material import SHAPE, follow_script, scripted_step, small_case, small_prediction
from napari_breastseg.evaluation.session_trials.order import check_order
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.evaluation.session_trials.writer import Acknowledged
from napari_breastseg.progress import Job, Progress, run
from napari_breastseg.session import Session

STEPS = 6


@pytest.fixture
def cut_off(tmp_path: Path) -> tuple[Path, str]:
    """A session in which some scripted steps and a prediction are."""
    history = History(SHAPE)
    with Session.create(tmp_path / "session") as session:
        case_id = session.add_case(small_case())
        while history.seq < STEPS:
            step = scripted_step(history)
            take(session, case_id, step)
            history.take(step)
        session.add_prediction(case_id, small_prediction(1))
    return tmp_path / "session", case_id


def audited(cut_off: tuple[Path, str], told: Acknowledged) -> Audit:
    audit = Audit()
    audit.reopen(*cut_off, told, History(SHAPE), np.random.default_rng(0))
    return audit


def test_an_audit_of_a_whole_session_finds_nothing(cut_off: tuple[Path, str]) -> None:
    audit = audited(cut_off, Acknowledged(seq=STEPS, predictions=[1]))
    assert (audit.lost, audit.torn, audit.unopened) == ([], [], [])
    assert (audit.edits, audit.predictions) == (STEPS, 1)


@pytest.mark.parametrize(
    ("told", "lost"),
    [
        (Acknowledged(seq=STEPS + 1), "Edit 7"),
        (Acknowledged(seq=STEPS, predictions=[1, 2]), "Prediction 2"),
        (Acknowledged(seq=STEPS, rounds={1: "a" * 64}), "Round 1"),
    ],
)
def test_what_was_acknowledged_and_is_not_there_is_lost(cut_off: tuple[Path, str], told: Acknowledged, lost: str) -> None:
    assert audited(cut_off, told).lost == [lost]


def test_more_edits_than_one_under_way_are_torn(cut_off: tuple[Path, str]) -> None:
    assert audited(cut_off, Acknowledged(seq=STEPS - 1)).torn == []
    assert len(audited(cut_off, Acknowledged(seq=STEPS - 2)).torn) == 1


def damage_an_edit(folder: Path) -> None:
    connection = sqlite3.connect(folder / "session.sqlite")
    connection.execute("UPDATE edit SET new=zeroblob(1) WHERE seq=3")
    connection.commit()
    connection.close()


def leave_a_temporary_folder(folder: Path) -> None:
    (folder / "models" / "deep" / ".tmp-1").mkdir(parents=True)


def test_damage_and_leftovers_are_torn_and_a_missing_database_fails_to_open(cut_off: tuple[Path, str]) -> None:
    folder, _ = cut_off
    told = Acknowledged(seq=STEPS)
    leave_a_temporary_folder(folder)
    assert any(".tmp-1" in sentence for sentence in audited(cut_off, told).torn)
    damage_an_edit(folder)
    assert any("Edit 3" in sentence for sentence in audited(cut_off, told).torn)
    (folder / "session.sqlite").unlink()
    assert len(audited(cut_off, told).unopened) == 1


def test_complaints_of_the_writer_are_torn_states(cut_off: tuple[Path, str]) -> None:
    assert audited(cut_off, Acknowledged(seq=STEPS, complaints=["learn: no"])).torn == ["learn: no"]


def test_an_audit_with_nothing_acknowledged_has_shown_nothing() -> None:
    assert not Trial("kills", Audit().aims()).met


WRITE = '1 pwrite64(3</s/session.sqlite-wal>, "x"..., 10, 0) = 10'
FLUSH = "1 fdatasync(3</s/session.sqlite-wal>) = 0"
SAID = '1 write(1<pipe:[1]>, "acknowledged\\n", 13) = 13'
ASIDE = '1 write(4</s/.tmp-1/zarr.json>, "x", 1) = 1'
SETTLED = "1 fsync(4</s/.tmp-1/zarr.json>) = 0"
RENAMED = '1 rename("/s/.tmp-1", "/s/1.zarr") = 0'


@pytest.mark.parametrize(
    ("calls", "broken"),
    [
        ([WRITE, FLUSH, SAID], 0),
        ([WRITE, SAID, FLUSH], 1),
        ([ASIDE, SETTLED, RENAMED], 0),
        ([ASIDE, RENAMED, SETTLED], 1),
    ],
)
def test_a_promise_before_its_flush_is_seen_in_the_calls(calls: list[str], broken: int) -> None:
    assert len(check_order(calls)[2]) == broken


@pytest.fixture
def made(tmp_path: Path) -> Example:
    return example(tmp_path / "session", tmp_path / "weights.safetensors")


def nothing_found(folder: Path) -> list[str]:
    return []


def something_found(folder: Path) -> list[str]:
    return ["Something is damaged."]


@pytest.mark.parametrize(
    ("verify", "outcome"), [(nothing_found, flips.SILENT), (something_found, flips.UNNAMED)], ids=["silent", "unnamed"]
)
def test_a_flip_that_verify_does_not_tell_is_silent_or_unnamed(
    made: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: Callable[[Path], list[str]], outcome: str
) -> None:
    truth = answers(made)
    weights = next((made.folder / "models").glob("*.safetensors"))
    flip(weights, 8 * 900)
    monkeypatch.setattr(flips, "problems_of", verify)
    assert outcome in outcomes_of(made, weights.relative_to(made.folder).as_posix(), truth, tmp_path / "copy")


def test_damage_that_is_read_or_mended_into_something_else_is_told(made: Example, tmp_path: Path) -> None:
    truth = answers(made) | {"cases": ["another"]}
    snapshot = next((made.folder / "labels").rglob("zarr.json"))
    flip(snapshot, 8 * 20)
    name = snapshot.relative_to(made.folder).as_posix()
    assert outcomes_of(made, name, truth, tmp_path / "copy") == [flips.FOUND, flips.READ, flips.MENDED_WRONGLY]


def test_where_no_disk_can_be_mounted_the_calls_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(image: Path, megabytes: int) -> None:
        raise mounts.NotAllowed("it needs root")

    def followed(place: Path, why: str) -> Job[Trial]:
        yield Progress(0, 1, "Following")
        return Trial("power", skipped=why)

    monkeypatch.setattr(mounts, "make_ext4", refused)
    monkeypatch.setattr(power, "flush_order", followed)
    assert run(power.power_cuts(tmp_path, 1)).skipped == "no disk could be mounted: it needs root"


def test_an_aim_is_a_bound_from_above_or_below() -> None:
    assert Aim("lost", 0).met and not Aim("lost", 1).met
    assert Aim("acknowledged", 1, 1, at_least=True).met and not Aim("acknowledged", 0, 1, at_least=True).met


def test_the_script_makes_a_version_with_every_step() -> None:
    history = History(SHAPE)
    follow_script(history, 300)
    kinds = set()
    again = History(SHAPE)
    while again.seq < 300:
        step = scripted_step(again)
        kinds.add(type(step).__name__ if not isinstance(step, str) else step)
        assert again.take(step)
    assert kinds == {"Edit", "int", "undo", "redo"}
    assert all(np.array_equal(a, b) for a, b in zip(history.versions, again.versions, strict=True))
