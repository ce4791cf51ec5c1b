"""The models that ship with the package and the versions of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_breastseg.errors import InputError
from napari_breastseg.session import Session


def starter_facts() -> list[dict[str, Any]]:
    """Return the starter models with their cards, JSON-ready."""
    from napari_breastseg.methods.model import load_model, starter_models

    loaded = {name: load_model(path) for name, path in starter_models().items()}
    return [_row(model.sha, model.card, None, True) | {"name": name} for name, model in loaded.items()]


def session_models(folder: Path) -> tuple[list[dict[str, Any]], str | None]:
    """Return the versions of a session, oldest first, and the sha256 of the current one."""
    with Session.open(folder, read_only=True) as session:
        rounds = {row.candidate: row for row in session.rounds()}
        rows = []
        for model in session.models():
            made = rounds.get(model.sha)
            row = _row(model.sha, model.card, model.parent, model.adopted)
            rows.append(row | {"time": model.time, "round": made.id if made else None, "reasons": list(made.reasons) if made else []})
        return rows, session.current_model


def use_version(folder: Path, beginning: str) -> None:
    """Make a version of the session current, named by the beginning of its sha256."""
    with Session.open(folder) as session:
        session.use_model(_only([row.sha for row in session.models()], beginning, "model"))


def find_case(session: Session, beginning: str) -> str:
    """Return the id of the case that `beginning` begins, or of the only one of that name.

    Raises
    ------
    InputError
        If no case or more than one begins so.
    """
    named = [case_id for case_id in session.cases if session.name(case_id) == beginning]
    return named[0] if len(named) == 1 else _only(session.cases, beginning, "case")


def _only(known: list[str], beginning: str, what: str) -> str:
    found = [name for name in known if name == beginning] or [name for name in known if name.startswith(beginning)]
    if len(found) != 1 or not beginning:
        problem = f"no {what}" if not found else f"more than one {what}"
        raise InputError(f"The session has {problem} {beginning!r}. Choose one of: {', '.join(known) or 'none yet'}.")
    return found[0]


def _row(sha: str, card: Any, parent: str | None, adopted: bool) -> dict[str, Any]:
    return {
        "sha256": sha,
        "preset": card.get("preset", ""),
        "parent": parent,
        "adopted": adopted,
        "trained_on": card.get("trained_on", ""),
        "metrics": card.get("metrics", {}),
    }
