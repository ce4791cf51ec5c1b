"""What the section Versions shows of a session, read at once and off the window's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napari_breastseg.session import ModelRow, Moment, RoundRow, Session, Version


@dataclass(frozen=True)
class History:
    """The timeline of a case, oldest first, and the models of its session with the learning rounds that made them."""

    moments: Sequence[Moment] = ()
    now: Version = Version(0, None)
    models: Sequence[ModelRow] = ()
    rounds: dict[str, RoundRow] = field(default_factory=dict)
    current: str | None = None

    def version_at(self, seq: int) -> Version:
        """Return the version that the edit `seq` made: it lies over the prediction that there was then, the last one over the latest."""
        if seq == self.now.seq:
            return self.now
        found = None
        for moment in self.moments:
            if moment.kind == "edits" and moment.before.seq < seq <= moment.version.seq:
                return Version(seq, moment.version.prediction)
            if moment.version.seq <= seq:
                found = moment.version
        return Version(seq, None if found is None else found.prediction)


def read_history(session: Session, case_id: str | None) -> History:
    """Read the history of a case; of the models alone if there is no case."""
    return History(
        () if case_id is None else session.timeline(case_id),
        Version(0, None) if case_id is None else session.now(case_id),
        session.models(),
        {row.candidate: row for row in session.rounds() if row.candidate is not None},
        session.current_model,
    )
