"""Models and learning rounds: immutable weights named by their sha256, their lineage, and which one is current.

Weights are safetensors only. Nothing in a session is ever unpickled.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from napari_breastseg.errors import InputError, ModelError, SessionError
from napari_breastseg.session.disk.durable import aside, in_words, publish, settle
from napari_breastseg.session.disk.manifests import sha256_of
from napari_breastseg.session.disk.places import MODELS, is_link
from napari_breastseg.session.disk.text import from_json, to_json, understood
from napari_breastseg.session.journal import REPAIR, Journal, now
from napari_breastseg.session.rows import ModelRow, RoundRow

CURRENT = "current-model"
"""The entry of ``head``, and the kind of event, that names the model that predicts and learns."""
OVERRULED = "overruled"
"""The event that tells that a person adopted what the gate had refused."""
LEARNING = "learning"
"""The entry of ``head`` that tells of a learning round under way."""
_SHA = re.compile(r"[0-9a-f]{64}")


class Models:
    """The tables of models and rounds and the files of the weights."""

    def __init__(self, root: Path, journal: Journal) -> None:
        self._root = root
        self._journal = journal

    def file(self, sha: str) -> Path:
        """Return where the weights `sha` lie, whether or not they do."""
        if not _SHA.fullmatch(sha):
            raise InputError(f"{sha!r} is no model of a session. Give the 64 hexadecimal digits that the session lists.")
        return self._root / MODELS / f"{sha}.safetensors"

    def add(self, weights: Path, card: Mapping[str, Any]) -> str:
        """Copy weights and card in and return the sha; what is there and whole already is left as it is."""
        self._journal.writable()
        text = to_json(dict(card), "The model's card")
        parent = card.get("parent")
        with in_words("The model"), aside(self._root / MODELS) as copy, aside(self._root / MODELS) as card_copy:
            _copy(weights, copy)
            _check_safetensors(weights, copy)
            card_copy.write_text(text, encoding="utf-8")
            settle(copy)
            settle(card_copy)
            sha = sha256_of(copy)
            with self._journal.transaction("The model"):
                known = self._journal.rows("model", "sha=?", (sha,))
                if known:
                    card_copy.write_text(known[0]["card"], encoding="utf-8")
                    settle(card_copy)
                publish(copy, self.file(sha))
                publish(card_copy, self.file(sha).with_suffix(".json"))
                if not known:
                    self._journal.append("model", sha=sha, parent=None if parent is None else str(parent), time=now(), card=text)
        return sha

    def rows(self) -> list[ModelRow]:
        """Return all models, oldest first."""
        with self._journal.lock:
            chosen = self._journal.rows("event", "kind=?", (CURRENT,))
            found = self._journal.rows("model")
        with understood("The list of models"):
            used = {from_json(row["details"], "An event").get("sha") for row in chosen}
            return [
                ModelRow(row["sha"], row["parent"], row["time"], dict(from_json(row["card"], "A card")), row["sha"] in used)
                for row in found
            ]

    def path(self, sha: str) -> Path:
        """Return the weights' file after checking that its bytes are still the ones that `sha` names."""
        self._known(sha)
        path = self.file(sha)
        problem = self.problem(sha)
        if problem:
            raise ModelError(f"{problem}. Make another version current, or restore the file from a backup.")
        return path

    def problem(self, sha: str) -> str | None:
        """Say what is wrong with the file of a model, or None."""
        path = self.file(sha)
        shown = path.relative_to(self._root).as_posix()
        if is_link(path) or is_link(path.parent):
            return f"{shown} leads out of the session"
        if not path.is_file():
            return f"{shown} is missing"
        with in_words("The model", "read"):
            return f"{shown} is damaged" if sha256_of(path) != sha else None

    def card_problem(self, sha: str, card: str) -> str | None:
        """Say what is wrong with the card beside the weights, or None."""
        path = self.file(sha).with_suffix(".json")
        shown = path.relative_to(self._root).as_posix()
        if is_link(path):
            return f"{shown} leads out of the session"
        if not path.is_file():
            return f"{shown} is missing"
        return f"{shown} is damaged" if path.read_bytes() != card.encode() else None

    @property
    def current(self) -> str | None:
        """The sha of the current model, or None before the first."""
        found = self._journal.head(CURRENT)
        if found is None and self._journal.rows("event", "kind=?", (CURRENT,)):
            raise SessionError(f"It has vanished which model is the current one. {REPAIR}")
        return None if found is None else str(found)

    def use(self, sha: str) -> None:
        """Make a model of the session the current one; if the gate refused it, record that a person decided so."""
        made = [row for row in self.rounds() if row.candidate == sha]
        refused = made and not any(row.adopted for row in made)
        with self._journal.transaction("The choice of the model"):
            if self._make_current(sha) and refused:
                self._overruled(made[-1], "")

    def _make_current(self, sha: str) -> bool:
        """Make a model the current one; tell whether it was not."""
        self.path(sha)
        before = self.current
        if sha == before:
            return False
        self._journal.set_head(CURRENT, sha)
        self._journal.event(CURRENT, {"sha": sha, "before": before})
        return True

    def _overruled(self, row: RoundRow, note: str) -> None:
        self._journal.event(OVERRULED, {"round": row.id, "sha": row.candidate, "reasons": list(row.reasons), "note": note})

    def _known(self, sha: str) -> None:
        if not self._journal.rows("model", "sha=?", (sha,)):
            raise InputError(f"The session has no model {sha[:12]}. Choose one that the session lists.")

    def add_round(
        self,
        case_ids: Sequence[str],
        parent: str | None,
        candidate: str | None,
        adopted: bool,
        reasons: Sequence[str],
        figures: Mapping[str, Any],
        seqs: Mapping[str, int],
    ) -> int:
        """Store a learning round and, if it was adopted, make its candidate current, both in one transaction."""
        with self._journal.transaction("The learning round"):
            if adopted:
                if candidate is None:
                    raise SessionError("A learning round without a candidate cannot be adopted. Learn again.")
                self._make_current(candidate)
            self._journal.set_head(LEARNING, None)
            return self._journal.append(
                "round",
                time=now(),
                case_ids=to_json(list(case_ids), "The round's cases"),
                parent=parent,
                candidate=candidate,
                adopted=int(adopted),
                reasons=to_json([str(reason) for reason in reasons], "The round's reasons"),
                figures=to_json(dict(figures), "The round's figures"),
                seqs=to_json(dict(seqs), "The round's edits"),
            )

    def overrule(self, number: int, note: str) -> None:
        """Make the refused candidate of a round current, and record that a person decided so."""
        found = [row for row in self.rounds() if row.id == number]
        if not found:
            raise InputError(f"The session has no learning round {number}. Choose one that the session lists.")
        row = found[0]
        if row.adopted or row.candidate is None:
            raise InputError(f"Round {number} was adopted already. Choose its version under Versions.")
        with self._journal.transaction("The choice of the model"):
            self._make_current(row.candidate)
            self._overruled(row, note)

    def rounds(self) -> list[RoundRow]:
        """Return all learning rounds, oldest first."""
        return [_round(row) for row in self._journal.rows("round")]

    def set_learning(self, facts: Mapping[str, Any] | None) -> None:
        """Note that a learning round has begun, or with None that none runs any more."""
        with self._journal.transaction("The learning round"):
            self._journal.set_head(LEARNING, None if facts is None else dict(facts))

    @property
    def learning(self) -> dict[str, Any] | None:
        """What was noted of the learning round under way, None if there is none."""
        found = self._journal.head(LEARNING)
        return found if isinstance(found, dict) else None


def _round(row: sqlite3.Row) -> RoundRow:
    what = f"The learning round {row['id']}"
    with understood(what):
        return RoundRow(
            id=row["id"],
            time=row["time"],
            case_ids=tuple(str(case_id) for case_id in from_json(row["case_ids"], what)),
            parent=row["parent"],
            candidate=row["candidate"],
            adopted=bool(row["adopted"]),
            reasons=tuple(str(reason) for reason in from_json(row["reasons"], what)),
            figures=dict(from_json(row["figures"], what)),
            seqs={str(case_id): int(seq) for case_id, seq in from_json(row["seqs"], what).items()},
        )


def _copy(weights: Path, copy: Path) -> None:
    try:
        shutil.copyfile(weights, copy)
    except FileNotFoundError as error:
        raise ModelError(f"{weights} does not exist. Give the path of a .safetensors file.") from error


def _check_safetensors(weights: Path, copy: Path) -> None:
    try:
        with safe_open(copy, framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{weights} is no safetensors file, and nothing else is loaded. Convert the weights first.") from error
    if not names:
        raise ModelError(f"{weights} holds no weights. Train or convert the model again.")
