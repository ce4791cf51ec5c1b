"""The jobs that open sessions and cases: all reading that showing a case needs is done here, off the window's thread, and it is little."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from napari.types import LayerDataTuple

from napari_breastseg.case import Case, Prediction, overlay
from napari_breastseg.errors import InputError, SessionError, SessionLockedError
from napari_breastseg.io.listing import ListedCase
from napari_breastseg.progress import Job, Progress, retold
from napari_breastseg.session import Session
from napari_breastseg.session.disk.lock import owner
from napari_breastseg.widgets.view.layers import case_layers
from napari_breastseg.widgets.view.lazy import Slabs
from napari_breastseg.widgets.view.view_state import ViewState


@dataclass(frozen=True)
class Shown:
    """What is needed to show a case.

    Parameters
    ----------
    case : Case
        With its images on the disk.
    layers : sequence of LayerDataTuple
        Its images as layers, read as they are shown.
    annotation : ndarray
    mask : ndarray
        The annotation laid over the prediction, background where neither says anything.
    done : bool
        Whether the person is done with the case.
    prediction : Prediction or None
        Its probability and coarse mask are read when they are shown.
    view : ViewState or None
        How it was looked at last.
    start : int
        The axial slice to begin with: that of the view, else the one with most tumour, else the middle.
    given : Case or None
        The case that was copied or linked just now; its layers are in the viewer already.
    """

    case: Case
    layers: Sequence[LayerDataTuple]
    annotation: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    done: bool
    prediction: Prediction | None
    view: ViewState | None
    start: int
    given: Case | None


@dataclass(frozen=True)
class Opened:
    """A session, the case in front, and what to show of it, which is nothing if the session has no case or a link must not be followed."""

    session: Session
    locked_by: str
    case_id: str | None
    shown: Shown | None
    refusal: str = ""
    left_out: tuple[str, ...] = ()


def opening(folder: Path, case_id: str | None, slabs: Slabs) -> Job[Opened]:
    """Open a session, for reading only if another process has it, and one of its cases: the one asked for, else the one seen last."""
    yield Progress(0, 2, "Opening the session")
    locked_by = ""
    try:
        session = Session.open(folder)
    except SessionLockedError:
        session = Session.open(folder, read_only=True)
        holder = owner(folder) or {}
        locked_by = f"process {holder.get('pid', '?')} on {holder.get('host', 'another computer')}, since {holder.get('started', '?')}"
    try:
        cases = session.cases
        wanted = next((one for one in (case_id, session.last_case, *cases[-1:]) if one in cases), None)
        return (yield from reading(session, locked_by, wanted, slabs))
    except BaseException:
        session.close()
        raise


def copying(session: Session | None, folder: Path, case: Case, link: Path | None, slabs: Slabs) -> Job[Opened]:
    """Copy a case into the session, or link it, and read what is shown of it; without a session one is made in `folder`."""
    checked = yield from _checked(case, "Copying the images into the session" if link is None else "Linking the images")
    made = Session.create(folder) if session is None else None
    used = made or session
    assert used is not None
    try:
        return (yield from reading(used, "", used.add_case(checked, link), slabs, case))
    except BaseException:
        if made is not None:
            made.close()
        raise


def gathering(session: Session | None, folder: Path, cases: Sequence[ListedCase], linked: bool, slabs: Slabs) -> Job[Opened]:
    """Copy or link many cases, and show the first; those that cannot be read are left out, and it is said why.

    Raises
    ------
    InputError
        If none can be read.
    """
    made = Session.create(folder) if session is None else None
    used = made or session
    assert used is not None
    taken: list[str] = []
    left_out: list[str] = []
    try:
        for number, listed in enumerate(cases):
            yield Progress(number, len(cases), f"Taking in {listed.name}")
            try:
                checked = yield from retold(_checked(listed.read(), listed.name), partial(_within, number, len(cases)))
                taken.append(used.add_case(checked, listed.place if linked else None))
            except InputError as error:
                left_out.append(f"{listed.name} was left out: {error}")
        if not taken:
            raise InputError(left_out[0])
        return replace((yield from reading(used, "", taken[0], slabs)), left_out=tuple(left_out))
    except BaseException:
        if made is not None:
            made.close()
        raise


def _checked(case: Case, message: str) -> Job[Case]:
    """Look at every voxel of a case, and at how far its phases lie apart."""
    yield Progress(0, case.phases + 1, "Looking at the images")
    for phase in range(case.phases):
        if not np.isfinite(case.phase(phase)).all():
            raise InputError(f"{case.name} has voxels without a finite value. Repair the image and open it again.")
        yield Progress(phase + 1, case.phases + 1, message)
    from napari_breastseg.loop.aligned import with_motion  # and SimpleITK with it

    return (yield from with_motion(case))


def _within(number: int, total: int, step: Progress) -> Progress:
    """Count cases instead of phases."""
    return replace(step, step=number, total=total)


def reading(session: Session, locked_by: str, case_id: str | None, slabs: Slabs, given: Case | None = None) -> Job[Opened]:
    """Read what showing a case needs: annotation, mask, and one slab of the images."""
    if case_id is None:
        return Opened(session, locked_by, None, None)
    yield Progress(0, 2, "Opening the case")
    try:
        case = session.case(case_id)
    except SessionError as error:
        if session.links_trusted:
            raise
        return Opened(session, locked_by, case_id, None, str(error))
    view = ViewState.of(session.view(case_id))
    start = None if view is None else _slice_of(view, case)
    with ThreadPoolExecutor(max_workers=1) as aside:
        images = None if start is None else aside.submit(case_layers, case, slabs, start)
        annotation, prediction = session.annotation(case_id), session.prediction(case_id, in_memory=False)
        done = session.is_done(case_id)
        mask = overlay(np.zeros_like(annotation) if prediction is None or done else prediction.refined, annotation)
    if images is None or start is None:
        yield Progress(1, 2, "Reading what is shown")
        start = _fullest(mask)
        layers = case_layers(case, slabs, start)
    else:
        layers = images.result()
    return Opened(session, locked_by, case_id, Shown(case, layers, annotation, mask, done, prediction, view, start, given))


def _slice_of(view: ViewState, case: Case) -> int | None:
    """Return the axial slice that a view shows, None if it does not say."""
    if view.point is None or len(view.point) < 3:
        return None
    return int(np.clip(round(view.point[-3] / case.geometry.spacing[0]), 0, case.shape[0] - 1))


def _fullest(mask: npt.NDArray[np.uint8]) -> int:
    """Return the axial slice with most tumour, the middle one if there is none."""
    areas = [int(np.count_nonzero(plane)) for plane in mask]
    return int(np.argmax(areas)) if any(areas) else len(mask) // 2
