"""Two processes and one session: one writes, the other is told who; and by force both write."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from napari_breastseg.case import slices
from napari_breastseg.errors import BreastSegError, SessionLockedError, StaleEditError
from napari_breastseg.evaluation.session_trials.history import Labels
from napari_breastseg.evaluation.session_trials.material import SHAPE, random_edit, small_case
from napari_breastseg.evaluation.session_trials.remote import RemoteSession, opened_remotely
from napari_breastseg.evaluation.session_trials.trial import Aim, Trial
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session import Edit, Session
from napari_breastseg.session.disk.places import LOCK

WRITERS = 2
_NEXT = np.zeros(256, np.uint8)
_NEXT[[255, 1, 0]] = [1, 0, 1]


def two_processes(place: Path, commits: int = 40) -> Job[Trial]:
    """Open one session in two processes, properly and by force; by force each makes so many commits at the same time."""
    yield Progress(0, 2, "Opening one session twice")
    folder = place / "shared"
    with Session.create(folder) as session:
        case_id = session.add_case(small_case())
    problems = _properly(folder, case_id)
    refused_well = not problems
    yield Progress(1, 2, "Writing from two processes by force")
    try:
        seqs, stale = _by_force(folder, case_id, commits)
        damage = _damage(folder, case_id, seqs)
    except PermissionError:
        return Trial("two-processes", skipped="the lock of a running process cannot be circumvented on this system")
    aims = (
        Aim("second opener told who writes, reads, and takes over after a crash", int(refused_well), 1, at_least=True),
        Aim("commits acknowledged by force", len(seqs), WRITERS * commits, at_least=True),
        Aim("stale edits that were refused and made again", stale, 1, at_least=True),
        Aim("lost or damaged edits", len(damage)),
    )
    return Trial("two-processes", aims, {"commits": len(seqs), "stale_edits_refused": stale}, tuple(problems + damage))


def _properly(folder: Path, case_id: str) -> list[str]:
    """A second opener is told who writes, may read, and takes a lock over that a crash left behind."""
    problems = []
    with opened_remotely(folder) as writer:
        try:
            with Session.open(folder):
                problems.append("Two processes could open the session for writing.")
        except SessionLockedError as error:
            if f"process {writer.pid} " not in str(error):
                problems.append(f"The second opener was not told who writes: {error}")
        with Session.open(folder, read_only=True) as reader:
            if reader.cases != [case_id]:
                problems.append("The second opener could not read.")
        pid = writer.pid
    try:
        with Session.open(folder) as session:
            event = session.events()[-1]
            if event.kind != "recovered" or event.details["from"]["pid"] != pid:
                problems.append("Nobody was told that the lock was left behind by a crash.")
    except BreastSegError as error:
        problems.append(f"The lock that a crash left behind was not taken over: {error}")
    return problems


def _by_force(folder: Path, case_id: str, commits: int) -> tuple[dict[int, int], int]:
    """Have two processes commit at the same time; return the seed of each acknowledged seq, and how many stale edits were refused.

    The second gets in because the file with the lock is removed, so that each holds a lock on a file of its own.
    """
    seqs: dict[int, int] = {}
    stale: list[int] = []

    def commit(session: RemoteSession, first: int) -> None:
        for seed in range(first, first + commits):
            while True:
                base = session.call("seq", case_id)
                edit = turned(session.call("annotation", case_id, base), base, seed)
                try:
                    seqs[session.call("record", case_id, edit)] = seed
                    break
                except StaleEditError:
                    stale.append(base)

    with opened_remotely(folder) as one:
        (folder / LOCK).unlink()
        with opened_remotely(folder) as other:
            threads = [threading.Thread(target=commit, args=(one, 0)), threading.Thread(target=commit, args=(other, commits))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    return seqs, len(stale)


def turned(labels: Labels, base: int, seed: int) -> Edit:
    """Return an edit that turns every label under a random stroke into another: what it makes depends on what it was made on."""
    stroke = random_edit(np.random.default_rng(seed), base)
    return Edit(stroke.box, stroke.mask, _NEXT[labels[slices(stroke.box)]], "turn", base)


def _damage(folder: Path, case_id: str, seqs: dict[int, int]) -> list[str]:
    """Make the acknowledged edits again, one after another, and compare every version."""
    with Session.open(folder) as session:
        damage = session.verify()
        labels = np.full(SHAPE, 255, np.uint8)
        for seq in range(1, session.seq(case_id) + 1):
            if seq not in seqs:
                damage.append(f"Edit {seq} is there, but nobody was told so.")
                continue
            edit = turned(labels, seq - 1, seqs[seq])
            labels[slices(edit.box)][edit.mask] = np.asarray(edit.value)[edit.mask]
            if not np.array_equal(session.annotation(case_id, seq), labels):
                damage.append(f"Edit {seq} is damaged.")
        return damage + [f"Edit {seq} was acknowledged and is not there." for seq in seqs if seq > session.seq(case_id)]
