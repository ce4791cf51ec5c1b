from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_breastseg.case import Case
from napari_breastseg.loop.approval import approve
from napari_breastseg.loop.queue import Suggestion
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Session

Cli = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session with one case, of which a stand-in for the queue has something to say."""
    with Session.create(tmp_path / "session") as session:
        known = session.add_case(tiny_case)

    def queue(session: Session, model: str, device: str) -> Job[list[Suggestion]]:
        yield Progress(0, 2, "looking")
        better = Suggestion(known, 0.8, 0.4, 0.41, None, ("the model is unsure of 3.2 mL", "unlike the 4 cases corrected so far"))
        return [better, Suggestion(known, 0.0, None, None, None, ("it cannot be predicted: [it] has one phase",))]

    monkeypatch.setattr("napari_breastseg.loop.queue.queue", queue)
    return tmp_path / "session"


def test_the_table_says_why(cli: Cli, folder: Path) -> None:
    said = cli("queue", "--session", folder)
    words = " ".join(said.out.split())
    assert said.code == 0 and "tiny" in words and "0.80" in words and "3.2 mL" in words and "[it]" in words


def test_json_and_top(cli: Cli, folder: Path) -> None:
    answer = cli("queue", "--session", folder, "--top", "1", "--json").answer
    (first,) = answer["queue"]
    assert answer["waiting"] == 2 and first["case"] == "tiny" and first["entropy"] == 0.4 and first["distance"] is None
    assert first["reasons"] == ["the model is unsure of 3.2 mL", "unlike the 4 cases corrected so far"]
    assert len(cli("queue", "--session", folder, "--json").answer["queue"]) == 2


def test_nothing_waits(cli: Cli, tmp_path: Path, tiny_case: Case) -> None:
    with Session.create(tmp_path / "session") as session:
        pass
    assert "no case yet" in cli("queue", "--session", tmp_path / "session").out
    with Session.open(tmp_path / "session") as session:
        approve(session, session.add_case(tiny_case))
    said = cli("queue", "--session", tmp_path / "session", "--json")
    assert said.code == 0 and said.answer == {"waiting": 0, "queue": []}
    assert "Nothing waits" in cli("queue", "--session", tmp_path / "session").out


def test_bad_input(cli: Cli, tmp_path: Path, folder: Path) -> None:
    assert cli("queue", "--session", tmp_path / "none").code == 1
    assert cli("queue", "--session", folder, "--top", "0").code == 2
