"""The demonstration: the whole way on a synthetic examination, without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_breastseg.cli.report import Report

SHAPE = (64, 128, 128)
DIAMETER = 22.0


def run_demo(speaker: Report, out: Path, rounds: int, seed: int, device: str) -> dict[str, Any]:
    """Make an examination, go `rounds` rounds with the simulated annotator, draw the picture; the session is kept in `out`."""
    from napari_breastseg.cli.picture import draw_rounds
    from napari_breastseg.evaluation.simulate import simulate
    from napari_breastseg.methods.model import load_model
    from napari_breastseg.phantom import make_phantom
    from napari_breastseg.session import Session

    load_model("hcma-unet")
    speaker.say("Making a synthetic examination ...")
    phantom = make_phantom(seed, SHAPE, lesions=1, diameter=DIAMETER)
    folder = _free(out / "session")
    speaker.say(f"Predicting, correcting and learning, {rounds} round(s) ...")
    answer = speaker.run(simulate(phantom.case, phantom.tumour, "hcma-unet", rounds, folder, device, seed))
    picture = out / "demo.png"
    with Session.open(folder, read_only=True) as session:
        draw_rounds(session, session.cases[0], phantom.tumour, answer["rounds"], picture)
    return answer | {"session": str(folder), "picture": str(picture)}


def _free(folder: Path) -> Path:
    """Return `folder`, or with a number behind it if an earlier demonstration is there."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
