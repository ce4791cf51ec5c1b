"""The commands that predict and learn, without their options."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_breastseg.case import Case, Prediction, overlay
from napari_breastseg.cli.maps import explained, maps_answer
from napari_breastseg.cli.report import Report
from napari_breastseg.cli.versions import find_case
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case, read_mask, write_map, write_mask
from napari_breastseg.io.image_files import is_image
from napari_breastseg.io.nifti import series
from napari_breastseg.io.nifti_file import stem
from napari_breastseg.loop.approval import record_mask
from napari_breastseg.measure import tumour_figures
from napari_breastseg.session import Session

if TYPE_CHECKING:
    from napari_breastseg.inference import Explanation
    from napari_breastseg.methods.model import Model
    from napari_breastseg.methods.preset import Preset

PLAIN: Mapping[str, Any] = {"region": "breast", "mirror": False}
"""How a case is looked at unless something else is asked for."""


def predict_file(
    speaker: Report, image: Path, out: Path | None, model: str | None, device: str, times: Sequence[float] | None, folder: Path | None,
    frloss: Mapping[str, int] | None = None, link: bool = False, way: Mapping[str, Any] = PLAIN, overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Predict one examination, write its mask to `out` and keep it in the session `folder`, whichever is given.

    With `link` the session does not copy the images but remembers where they lie. With the settings `frloss`, FRLoss's maps of the
    mask go the same ways. `way` says where and how to look, see :func:`napari_breastseg.inference.predict`.
    """
    from napari_breastseg.inference import predict
    from napari_breastseg.inference.uncertainty import UNCERTAINTY
    from napari_breastseg.methods import usual_method
    from napari_breastseg.methods.model import load_model

    if out is not None:
        _writable(out, overwrite, image)
    case = read_case(image, times)
    explanation: Explanation | None = None
    case_id: str | None = None
    if folder is None:
        loaded = load_model(model or usual_method(case.modality))
        _tell_kind(speaker, case, loaded.preset)
        prediction = speaker.run(predict(case, loaded, device=device, **way))
        mask = prediction.refined
        _keep(mask, case, out)
        if frloss is not None:
            explanation = explained(speaker, case, loaded, mask, device, frloss, way["region"])
    else:
        prediction, explanation, mask, case_id, loaded = _in_session(
            speaker, case, folder, model, device, frloss, out, image if link else None, way
        )
    for told in ("times_assumed", "memory_steps"):
        for sentence in prediction.details.get(told, ()):
            speaker.say(sentence)
    uncertainty = out.with_name(f"{stem(out)}_{UNCERTAINTY}.nii.gz") if out is not None and UNCERTAINTY in prediction.maps else None
    if uncertainty is not None:
        write_map(prediction.maps[UNCERTAINTY], case.geometry, uncertainty)
    return {
        **_found(case, case_id, out, folder, prediction, mask),
        "preset": loaded.preset.name,
        "uncertainty": None if uncertainty is None else str(uncertainty),
        **({} if frloss is None else maps_answer(explanation, case.geometry, out)),
    }


def refine_case(speaker: Report, folder: Path, named: str, undo: bool, out: Path | None, overwrite: bool = False) -> dict[str, Any]:
    """Refine the prediction of a case of a session with the strokes on it, or take that back, and write the mask to `out`."""
    from napari_breastseg.loop import AnnotationLoop

    if out is not None:
        _writable(out, overwrite)
    with Session.open(folder) as session:
        case_id = find_case(session, named)
        if not session.predictions(case_id):
            raise InputError(f"{named} has no prediction yet. Predict it first, correct a place, then refine.")
        loop = AnnotationLoop(session)
        prediction = loop.unrefine(case_id) if undo else speaker.run(loop.refine(case_id))
        case, mask = session.case(case_id), session.mask(case_id)
        _keep(mask, case, out)
        return _found(case, case_id, out, folder, prediction, mask)


def _tell_kind(speaker: Report, case: Case, preset: Preset) -> None:
    """Say what an image was taken for whose files do not tell what it shows."""
    if case.modality == "image":
        speaker.say(
            f"{case.name} does not tell what it shows and was taken for {preset.modality}. A file {case.name}.json beside it may tell: "
            '{"Modality": "US"} or {"Modality": "MG"}.'
        )


def _found(case: Case, case_id: str | None, out: Path | None, folder: Path | None, prediction: Prediction, mask: Any) -> dict[str, Any]:
    """Say how much tumour a mask shows, and where it came from."""
    return {
        "case": case.name,
        "case_id": case_id,
        "mask": None if out is None else str(out),
        "session": None if folder is None else str(folder),
        "model": prediction.model,
        **tumour_figures(mask, case),
        **prediction.details,
    }


def _keep(mask: Any, case: Case, out: Path | None) -> None:
    """Write the mask as soon as there is one: what follows may fail, or be cancelled."""
    if out is not None:
        write_mask(mask, case.geometry, out)


def _writable(out: Path, overwrite: bool, image: Path | None = None) -> None:
    """Refuse an impossible name, or one that is taken, before minutes of work; the files of `image` are never overwritten."""
    picture = image is not None and is_image(image) and out.suffix == ".png"
    if not picture and not out.name.endswith((".nii", ".nii.gz")):
        why = f", and {image} counts as one examination for the NIfTI files that lie in it" if image is not None and image.is_dir() else ""
        raise InputError(f"{out.name} is no name of a NIfTI file{why}. Let it end in .nii.gz.")
    if not out.parent.is_dir():
        raise InputError(f"There is no folder {out.parent}. Make it first, or choose another place for the mask.")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"Nothing may be written to {out.parent}. Choose another place for the mask.")
    if not out.exists():
        return
    own = [] if image is None or not image.exists() else series(image)[1] if image.is_dir() else [image]
    if any(out.samefile(file) for file in own):
        raise InputError(f"{out} is an image of the examination itself. Choose another name for the mask.")
    if not overwrite:
        raise InputError(f"{out} is there already. Choose another name, or add --overwrite.")


def _in_session(
    speaker: Report, case: Case, folder: Path, model: str | None, device: str, frloss: Mapping[str, int] | None, out: Path | None,
    link: Path | None, way: Mapping[str, Any],
) -> tuple[Prediction, Explanation | None, Any, str, Model]:  # fmt: skip
    """Predict in a session, which is made if there is none; the mask has the corrections laid over the prediction, and goes to `out`."""
    from napari_breastseg.inference.grids import suits
    from napari_breastseg.loop import AnnotationLoop
    from napari_breastseg.methods import usual_method
    from napari_breastseg.methods.model import load_model

    usual = usual_method(case.modality)
    new = not folder.exists() or not any(folder.iterdir())
    if new:
        refuse_early(case, model or usual)
    opened: AbstractContextManager[Session] = Session.create(folder) if new else Session.open(folder)
    with opened as session:
        own = None if session.current_model is None else str(session.model_path(session.current_model))
        fits = model is None and own is not None and suits(case.modality, load_model(own).preset.modality)
        if not new:
            refuse_early(case, own if fits and own is not None else model or usual)
        loop = AnnotationLoop(session, model or usual, device)
        if model is not None:
            loop.use(model)
        elif not fits:
            loop.use_method(usual)
        loaded = load_model(session.model_path(str(session.current_model)))
        _tell_kind(speaker, case, loaded.preset)
        if own is not None and loaded.preset.method != load_model(own).preset.method:
            speaker.say(f"The session now uses {loaded.preset.name}, also to learn; before it used {load_model(own).preset.name}.")
        case_id = session.add_case(case, link)
        if frloss is not None:
            return *_with_maps(speaker, session, case_id, case, device, frloss, out, way), case_id, loaded
        prediction, mask = speaker.run(loop.predict(case_id, **way)), session.mask(case_id)
        _keep(mask, case, out)
        return prediction, None, mask, case_id, loaded


def _with_maps(
    speaker: Report,
    session: Session,
    case_id: str,
    case: Case,
    device: str,
    frloss: Mapping[str, int],
    out: Path | None,
    way: Mapping[str, Any],
) -> tuple[Prediction, Explanation | None, Any]:
    """Predict with the session's current model and store the prediction together with its maps, or without them if they fail."""
    from napari_breastseg.inference import predict
    from napari_breastseg.methods.model import load_model

    loaded = load_model(session.model_path(str(session.current_model)))
    prediction = speaker.run(predict(case, loaded, device=device, **way))
    shown = session.mask(case_id) if session.is_done(case_id) else overlay(prediction.refined, session.annotation(case_id))
    try:
        _keep(shown, case, out)
        explanation = explained(speaker, case, loaded, shown, device, frloss, way["region"])
        if explanation is not None:
            prediction = replace(prediction, maps={**prediction.maps, **explanation.maps})
    finally:
        session.add_prediction(case_id, prediction)
    return prediction, explanation, shown


def refuse_early(case: Case, model: str) -> None:
    """Refuse an unknown model, or a case of another kind or that lacks what it needs, before a session is made."""
    from napari_breastseg.inference.grids import require_kind
    from napari_breastseg.methods.model import load_model

    preset = load_model(model).preset
    require_kind(case, preset)
    preset.inputs(preset.overview(case))


def learn_session(
    speaker: Report, folder: Path, corrections: Sequence[str], steps: int | None, from_base: bool, device: str, scheduler: str | None
) -> dict[str, Any]:
    """Record completely corrected masks, if any are given, and go one learning round, in a child process or on a Dask `scheduler`."""
    from napari_breastseg.compute import in_child, on_scheduler
    from napari_breastseg.loop import AnnotationLoop
    from napari_breastseg.training.config import LearnConfig

    where = in_child if scheduler is None else on_scheduler(scheduler)
    with Session.open(folder) as session:
        masks = [_correction(session, text) for text in corrections]
        for case_id, mask in masks:
            record_mask(session, case_id, mask)
        usual = LearnConfig(seed=len(session.rounds()))
        config = replace(usual, steps=steps or usual.steps, restart=1 if from_base else usual.restart)
        outcome = speaker.run(AnnotationLoop(session, device=device, where=where).learn(config))
    return {
        "session": str(folder),
        "round": outcome.number,
        "adopted": outcome.adopted,
        "reasons": list(outcome.reasons),
        "model": outcome.model,
        "figures": dict(outcome.figures),
        "seconds": round(outcome.seconds, 1),
    }


def _correction(session: Session, text: str) -> tuple[str, Any]:
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise InputError(f"{text!r} is no correction. Write it as CASE=MASK.nii.gz.")
    case_id = find_case(session, name)
    return case_id, read_mask(Path(path), session.case(case_id))
