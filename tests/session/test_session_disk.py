"""A disk that refuses is told in words, and what is written there is whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import SessionError
from napari_breastseg.evaluation.session_trials import mounts
from napari_breastseg.evaluation.session_trials.disk_full import filled, noisy_edit
from napari_breastseg.evaluation.session_trials.history import History
from napari_breastseg.evaluation.session_trials.material import SHAPE, random_edit
from napari_breastseg.session import Session

from .helpers import make_case, make_prediction


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounts.tmpfs(tmp_path / "disk", megabytes=1) as disk:
            yield disk
    except mounts.NotAllowed as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("what", ["prediction", "case", "model", "snapshot", "session"])
def test_everything_else_on_a_full_disk_is_refused_too(small_disk: Path, what: str, weights: Callable[[int], Path]) -> None:
    folder = small_disk / "session"
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        session.record(case_id, random_edit(np.random.default_rng(0), 0))
        before = sorted(path for path in folder.rglob("*"))
        actions: dict[str, Callable[[], object]] = {
            "prediction": lambda: session.add_prediction(case_id, make_prediction()),
            "case": lambda: session.add_case(make_case(1)),
            "model": lambda: session.add_model(weights(0), {}),
            "snapshot": lambda: session.snapshot(case_id),
            "session": lambda: Session.create(small_disk / "another"),
        }
        with filled(small_disk), pytest.raises(SessionError, match="the disk is full"):
            actions[what]()
        after = sorted(path for path in folder.rglob("*"))
        assert {path.name for path in set(after) - set(before)} <= {"predictions", "models", "labels", case_id}
        assert session.verify() == []
        result = actions[what]()
        if isinstance(result, Session):
            result.close()
        assert session.verify() == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_limit_on_the_size_of_files_is_told_in_words_too(session: Session, case_id: str) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(SessionError, match="could not be saved"):
            for base in range(50):
                session.record(case_id, noisy_edit(base))
        with pytest.raises(SessionError, match="could not be saved"):
            session.add_prediction(case_id, make_prediction())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    seq = session.seq(case_id)
    history = History(SHAPE)
    for base in range(seq):
        history.record(noisy_edit(base))
    np.testing.assert_array_equal(session.annotation(case_id), history.labels)
    session.record(case_id, noisy_edit(seq))
    assert session.verify() == []


def test_a_source_that_fails_halfway_leaves_no_case(session: Session) -> None:
    class Broken:
        shape, dtype = (2, 4, 5, 6), np.dtype(np.float32)
        reads = 0

        def __getitem__(self, index: int) -> np.ndarray:
            self.reads += 1
            if self.reads > 3:
                raise OSError(5, "Input/output error")
            return np.full((4, 5, 6), index, np.float32)

    good = make_case()
    with pytest.raises(SessionError, match="Input/output"):
        session.add_case(Case("broken", Broken(), good.geometry))
    assert session.cases == []
    assert list((session.path / "cases").iterdir()) == []


def test_a_case_may_end_in_the_middle_of_its_last_shard(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 160 slices of 448 x 448 voxels do: what of a shard lies wholly beyond the end is never written."""
    monkeypatch.setattr("napari_breastseg.session.disk.images._SHARD_BYTES", 2 * 64 * 20 * 24 * 4)
    images = np.random.default_rng(0).normal(200, 40, (2, 160, 20, 24)).astype(np.float32)
    case = Case("deep", images, Geometry((1.0, 1.0, 1.0), np.eye(4), (24, 20, 160)))
    case_id = session.add_case(case)
    assert len([file for file in session.path.rglob("c/*/*/*/*") if file.is_file()]) == 4  # two shards a phase
    np.testing.assert_array_equal(session.case(case_id).phase(1), images[1])
    assert session.verify() == []
