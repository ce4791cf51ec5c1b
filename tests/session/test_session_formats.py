"""A session of every earlier format opens, says what it said, and is written anew in the present format without losing the old file."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from napari_breastseg.errors import SessionError
from napari_breastseg.session import Session, Version
from napari_breastseg.session.schema import VERSION

FORMATS = Path(__file__).parent / "formats"
CASE = "kase-0-x-79e59a5e03"


@pytest.fixture(params=sorted(path.stem for path in FORMATS.glob("*.zip")))
def old(request: pytest.FixtureRequest, folder: Path) -> Path:
    """Thirteen edits of which the last is an undo, a snapshot at 8, two marks, a prediction, and an adopted model."""
    shutil.unpack_archive(FORMATS / f"{request.param}.zip", folder)
    return folder


def digest(session: Session) -> str:
    """Hash all that the old session said."""
    found = hashlib.sha256()
    for at in range(14):
        found.update(session.annotation(CASE, at).tobytes())
    prediction = session.prediction(CASE)
    assert prediction is not None
    found.update(
        np.asarray(session.case(CASE).images).tobytes() + np.asarray(prediction.probability).tobytes() + prediction.refined.tobytes()
    )
    said = [
        [(row.seq, row.tool, row.box, row.undoes) for row in session.edits(CASE)],
        [(row.what, row.value) for row in session.marks(CASE)],
    ]
    found.update(repr((said, session.current_model, session.rounds()[0].reasons)).encode())
    return found.hexdigest()


def test_every_format_opens_and_is_brought_up_to_date(old: Path) -> None:
    database = old / "session.sqlite"
    before = database.read_bytes()
    with Session.open(old, read_only=True) as session:
        looked_at = digest(session)
        assert session.verify() == []
    assert database.read_bytes() == before, "reading changes nothing"
    with Session.open(old) as session:
        assert digest(session) == looked_at == EXPECTED
        assert session.verify() == []
        assert session.predictions(CASE)[0].seq == 13 and session.now(CASE) == Version(13, 1)
        assert session.undo(CASE) is not None
        assert [event.kind for event in session.events()][-2:] == ["migrated", "software"]
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()
    (kept,) = old.glob("session.format-*.sqlite")
    connection = sqlite3.connect(kept)
    assert connection.execute("SELECT count(*) FROM edit").fetchone() == (13,)
    connection.close()
    with Session.open(old) as session:
        assert session.seq(CASE) == 14 and session.verify() == []


def test_a_damaged_old_session_is_not_made_whole_by_a_new_checksum(old: Path) -> None:
    connection = sqlite3.connect(old / "session.sqlite")
    connection.execute("UPDATE edit SET tool='pen' WHERE seq=3")
    connection.commit()
    connection.close()
    for read_only in (True, False):
        with Session.open(old, read_only) as session:
            assert f"Edit 3 of {CASE} is damaged." in session.verify()
    with Session.open(old) as session:
        assert session.repair() == [f"Edit 3 of {CASE} was restored from the edits and the label snapshots around it."]
        assert session.verify() == []


def test_a_forged_old_session_is_refused_before_anything_is_read_from_it(old: Path) -> None:
    connection = sqlite3.connect(old / "session.sqlite")
    connection.executescript(
        "DROP TABLE mark; CREATE VIEW mark AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT * FROM n;"
    )
    connection.close()
    for read_only in (True, False):
        with pytest.raises(SessionError, match="other tables"):
            Session.open(old, read_only)


EXPECTED = "5eac9742dc7c6c0fa9a0c27c04e9036722da5d42033851d37a95b71e5d4c7e72"
"""The digest of the session when it was written by the release of its format."""
