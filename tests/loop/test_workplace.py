"""A round that was stopped goes on where it stood, and only if nothing that it depends on has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_breastseg.loop.workplace import go_on_with, workplace
from napari_breastseg.session import Session


def stopped(session: Session, settings: dict[str, int], cases: list[str]) -> bool:
    """Begin a round, stop it, and tell whether it found what the one before had reached."""
    found = False
    with pytest.raises(KeyboardInterrupt), workplace(session, settings) as folder:
        go_on_with(folder, cases)
        state = Path(folder, "decoder-cpu.state")
        found = state.exists()
        state.touch()
        raise KeyboardInterrupt
    return found


def test_a_round_goes_on_with_the_same_settings_and_cases_alone(session: Session) -> None:
    assert [stopped(session, {"seed": 0}, ["a", "b"]) for _ in range(2)] == [False, True]
    assert not stopped(session, {"seed": 0}, ["b"]), "a is out of reach"
    assert stopped(session, {"seed": 0}, ["b"])
    assert not stopped(session, {"seed": 0}, ["b", "a"]), "it is back"
    assert not stopped(session, {"seed": 1}, ["a", "b"])
    with workplace(session, {"seed": 1}) as folder:
        go_on_with(folder, ["a", "b"])
    assert not folder.exists(), "it has ended"
