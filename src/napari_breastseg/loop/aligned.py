"""Cases whose phases are laid over each other: cases of their own beside the originals, which nothing ever replaces."""

from __future__ import annotations

from dataclasses import asdict, replace

from napari_breastseg.case import UNDECIDED, Case, box_around, slices
from napari_breastseg.errors import BreastSegError, InputError
from napari_breastseg.preprocess.alignment import Aligned, Kind, align
from napari_breastseg.preprocess.motion import motion_check, phase_name
from napari_breastseg.progress import Job
from napari_breastseg.session import Edit, Session

MOTION, ALIGNED, ORIGINAL = "motion", "aligned", "aligned_from"
"""What a case's metadata hold: the motion that was found, how it was aligned, and the id of the case that it was made from."""
CARRIED = "carried over"
"""Tool of the edit that brings the corrections of the original along."""


def with_motion(case: Case) -> Job[Case]:
    """Return a series with what the motion check says of it in its metadata; what cannot be checked is returned as it is."""
    if case.phases < 2 or case.flat or ALIGNED in case.metadata:
        return case
    try:
        motion = yield from motion_check(case)
    except BreastSegError:  # nothing to compare; what is wrong is told by whatever needs it
        return case
    found = {"words": motion.words, "advised": motion.advised, "phases": [asdict(phase) for phase in motion.phases]}
    return replace(case, metadata={**case.metadata, MOTION: found})


def align_in(session: Session, case_id: str, kind: Kind = "deformable") -> Job[str]:
    """Add the aligned examination to the session, with the corrections that were made on the original, and return its id.

    The reference is the first phase after contrast, on which tumours are drawn, so corrections hold for both. They come as one edit, the
    first, which always trains: what was kept back as a test of the original never was, and what was trained on is no test now.

    Raises
    ------
    InputError
        If all phases lie over each other already, or cannot be aligned.
    """
    original = session.case(case_id)
    aligned = yield from align(original, kind)
    if all(phase.how == "unchanged" for phase in aligned.phases):
        raise InputError(f"Nothing was changed. {aligned.words}")
    metadata = {**aligned.case.metadata, ORIGINAL: case_id, MOTION: {"words": in_words(aligned), "advised": False}}
    case = replace(aligned.case, name=f"{original.name} (aligned)", metadata=metadata)
    made = session.add_case(case)
    annotation = session.annotation(case_id)
    box = box_around(annotation != UNDECIDED)
    if box is not None and not session.seq(made):
        said = annotation[slices(box)]
        session.record(made, Edit(box, said != UNDECIDED, said, CARRIED, 0))
    return made


def in_words(aligned: Aligned) -> str:
    """Say how far each phase that was moved lay from the reference, and lies now."""
    said = [
        f"{phase_name(phase.phase)} from {phase.before.median_mm:.1f} mm (up to {phase.before.most_mm:.1f} mm) to "
        f"{phase.after.median_mm:.1f} mm (up to {phase.after.most_mm:.1f} mm)"
        for phase in aligned.phases
        if phase.how != "unchanged"
    ]
    return f"Aligned: {', '.join(said)}."


def superseded(session: Session) -> set[str]:
    """Return the ids of cases that have been aligned: what the person says is learned from the aligned ones, and not twice."""
    return {str(original) for case_id in session.cases if (original := session.metadata(case_id).get(ORIGINAL)) is not None}
