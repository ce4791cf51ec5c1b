"""Whatever is done to a session, in whatever order, and wherever it is killed, it equals a plain model in memory."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from napari_breastseg.case import slices
from napari_breastseg.evaluation.session_trials.history import History, Step
from napari_breastseg.evaluation.session_trials.material import SHAPE, random_edit, small_case
from napari_breastseg.evaluation.session_trials.remote import RemoteSession
from napari_breastseg.session import Change, Session

numbers = st.integers(0, 2**16)


class SessionAndModel(RuleBasedStateMachine):
    """A session in a process of its own, which is really killed, beside the model. Rules draw numbers only: they can be followed again."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "session"
        with Session.create(self.folder) as session:
            self.case_id = session.add_case(small_case())
        self.history = History(SHAPE)
        self.session = RemoteSession(self.folder)

    def teardown(self) -> None:
        for at, version in enumerate(self.history.versions):
            np.testing.assert_array_equal(self.session.call("annotation", self.case_id, at), version)
        assert self.session.call("verify") == []
        self.session.kill()
        shutil.rmtree(self.place)

    @rule(seed=numbers)
    def edit(self, seed: int) -> None:
        edit = random_edit(np.random.default_rng(seed), self.history.seq)
        self.history.record(edit)
        assert self.session.call("record", self.case_id, edit) == self.history.seq

    @rule()
    def undo(self) -> None:
        self.changes("undo", self.session.call("undo", self.case_id))

    @rule()
    def redo(self) -> None:
        self.changes("redo", self.session.call("redo", self.case_id))

    @rule(number=numbers)
    def checkout(self, number: int) -> None:
        at = number % len(self.history.versions)
        self.changes(at, self.session.call("checkout", self.case_id, at))

    def changes(self, step: Step, change: Change | None) -> None:
        before = self.history.labels
        assert self.history.take(step) == (change is not None)
        if change is not None:
            outside = before != self.history.labels
            outside[slices(change.box)] = False
            assert change.seq == self.history.seq and not outside.any()

    @rule()
    def snapshot(self) -> None:
        assert self.session.call("snapshot", self.case_id) == self.history.seq

    @rule()
    def compact(self) -> None:
        self.session.call("compact")

    @rule()
    def repair_what_is_whole(self) -> None:
        assert self.session.call("repair") == []

    @rule(number=numbers)
    def look_at_an_earlier_version(self, number: int) -> None:
        at = number % len(self.history.versions)
        np.testing.assert_array_equal(self.session.call("annotation", self.case_id, at), self.history.versions[at])

    @rule()
    def close_and_reopen(self) -> None:
        self.session.close()
        self.session = RemoteSession(self.folder)

    @rule()
    def kill_and_reopen(self) -> None:
        self.session.kill()
        self.session = RemoteSession(self.folder)
        assert self.session.call("verify") == []

    @rule(seed=numbers, milliseconds=st.integers(0, 4))
    def kill_while_editing(self, seed: int, milliseconds: int) -> None:
        """The edit that was not acknowledged is there whole or not at all."""
        edit = random_edit(np.random.default_rng(seed), self.history.seq)
        self.session.begin("record", self.case_id, edit)
        self.killed_within(milliseconds)
        if self.session.call("seq", self.case_id) > self.history.seq:
            self.history.record(edit)

    @rule(which=st.sampled_from(["snapshot", "compact"]), milliseconds=st.integers(0, 12))
    def kill_while_tidying(self, which: str, milliseconds: int) -> None:
        self.session.begin(which, *([self.case_id] if which == "snapshot" else []))
        self.killed_within(milliseconds)

    def killed_within(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)
        self.session.kill()
        self.session = RemoteSession(self.folder)

    @invariant()
    def equal(self) -> None:
        assert self.session.call("seq", self.case_id) == self.history.seq
        np.testing.assert_array_equal(self.session.call("annotation", self.case_id), self.history.labels)


TestSessionAndModel = SessionAndModel.TestCase
TestSessionAndModel.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
