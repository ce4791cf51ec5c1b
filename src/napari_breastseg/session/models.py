"""Models and learning rounds: immutable weights named by their sha256, their lineage, and which one is current.

Weights are safetensors only. Nothing in a session is ever unpickled.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from napari_breastseg.errors import InputError, ModelError, SessionError
from napari_breastseg.session.durable import aside, in_words, publish, settle, sha256_of, to_json
from napari_breastseg.session.journal import Journal, now
from napari_breastseg.session.rows import ModelRow, RoundRow

MODELS = "models"
_CURRENT = "current-model"
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
            used = {json.loads(row["details"]).get("sha") for row in self._journal.rows("event", "kind=?", (_CURRENT,))}
            found = self._journal.rows("model")
        return [ModelRow(row["sha"], row["parent"], row["time"], json.loads(row["card"]), row["sha"] in used) for row in found]

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
        if path.is_symlink() or path.parent.is_symlink():
            return f"{shown} leads out of the session"
        if not path.is_file():
            return f"{shown} is missing"
        with in_words("The model", "read"):
            return f"{shown} is damaged" if sha256_of(path) != sha else None

    def card_problem(self, sha: str, card: str) -> str | None:
        """Say what is wrong with the card beside the weights, or None."""
        path = self.file(sha).with_suffix(".json")
        shown = path.relative_to(self._root).as_posix()
        if path.is_symlink():
            return f"{shown} leads out of the session"
        if not path.is_file():
            return f"{shown} is missing"
        return f"{shown} is damaged" if path.read_bytes() != card.encode() else None

    @property
    def current(self) -> str | None:
        """The sha of the current model, or None before the first."""
        found = self._journal.head(_CURRENT)
        return None if found is None else str(found)

    def use(self, sha: str) -> None:
        """Make a model of the session the current one."""
        with self._journal.transaction("The choice of the model"):
            self._make_current(sha)

    def _make_current(self, sha: str) -> None:
        self.path(sha)
        before = self.current
        if sha != before:
            self._journal.set_head(_CURRENT, sha)
            self._journal.event(_CURRENT, {"sha": sha, "before": before})

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

    def rounds(self) -> list[RoundRow]:
        """Return all learning rounds, oldest first."""
        return [
            RoundRow(
                id=row["id"],
                time=row["time"],
                case_ids=tuple(json.loads(row["case_ids"])),
                parent=row["parent"],
                candidate=row["candidate"],
                adopted=bool(row["adopted"]),
                reasons=tuple(json.loads(row["reasons"])),
                figures=json.loads(row["figures"]),
                seqs=json.loads(row["seqs"]),
            )
            for row in self._journal.rows("round")
        ]


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
