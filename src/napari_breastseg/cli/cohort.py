"""The command `predict` on a folder of many cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from napari_breastseg.cli.report import Report
from napari_breastseg.cli.tables import figure_in_words
from napari_breastseg.errors import InputError

if TYPE_CHECKING:
    from napari_breastseg.cohort import Cohort
    from napari_breastseg.io.listing import Listing


def refuse_for_cohort(folder: Path, listing: Listing, given: Mapping[str, bool]) -> None:
    """Refuse the options, of those that were `given`, that speak of one examination."""
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise InputError(f"{_several(folder, listing)}, and {wrong[0]} is for one. Leave it out, or give one examination.")


def _several(folder: Path, listing: Listing) -> str:
    first, *others = listing.cases
    held = f"{len(listing.cases)} examinations" if others else f"an examination further down ({first.files[0]})"
    return f"{folder} holds {held}"


def refuse_for_case(image: Path, given: Mapping[str, bool]) -> None:
    """Refuse the options, of those that were `given`, that speak of a folder of examinations."""
    wrong = [option for option, is_given in given.items() if is_given]
    if wrong:
        raise InputError(f"{image} is one examination, and {wrong[0]} is for a folder of several. Leave it out, or give such a folder.")


def predict_folder(
    speaker: Report,
    folder: Path,
    listing: Listing,
    out: Path | None,
    model: str | None,
    device: str,
    probability: bool,
    scheduler: str | None,
    way: Mapping[str, Any],
) -> tuple[dict[str, Any], list[RenderableType]]:
    """Predict every case below a folder; return the answer, JSON-ready, and the same for people."""
    from napari_breastseg.cohort import predict_cohort
    from napari_breastseg.inference.devices import pick_device
    from napari_breastseg.methods.model import load_model

    if out is None or out.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{_several(folder, listing)}. Give --out a folder for the masks.")
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies within {folder}, where its masks would be taken for cases. Choose a folder outside of it.")
    if scheduler is None:
        pick_device(device)  # one that is not there would fail every case
    if listing.left_out:
        more = "" if len(listing.left_out) == 1 else f" and {len(listing.left_out) - 1} more"
        speaker.say(f"By their names taken for masks or pictures, not for cases: {listing.left_out[0]}{more}.")
    if model is None:
        model = _usual(listing)
    loaded = load_model(model)
    cohort = speaker.run(predict_cohort(listing.cases, loaded, out, device=device, probability=probability, scheduler=scheduler, **way))
    return {**_answer(cohort, out), "left_out": [str(path) for path in listing.left_out]}, _shown(cohort, out)


def _usual(listing: Listing) -> str:
    """Return the method that predicts all cases unless another is chosen.

    Raises
    ------
    InputError
        If they are of kinds that one method cannot predict.
    """
    from napari_breastseg.methods import usual_method

    methods: dict[str, str] = {}
    for case in listing.cases:
        methods.setdefault(usual_method(case.modality()), case.name)
    if len(methods) > 1:
        each = ", ".join(f"{name} needs {method}" for method, name in methods.items())
        raise InputError(f"One method cannot predict all of these: {each}. Keep each kind in a folder of its own, or choose with --model.")
    return next(iter(methods))


def _answer(cohort: Cohort, out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "cases": [row.facts() for row in cohort.rows],
        "done": cohort.done,
        "skipped": cohort.skipped,
        "failures": [{"case": row.case, "error": row.error} for row in cohort.failures],
        "seconds": cohort.seconds,
        "seconds_per_case": round(cohort.seconds / cohort.done, 2) if cohort.done else None,
    }


def _shown(cohort: Cohort, out: Path) -> list[RenderableType]:
    table = Table("case", "tumour", "largest part", "parts", "longest", "seconds", "device", box=None)
    for row in cohort.rows:
        facts = row.facts()
        if row.record is None:
            table.add_row(row.case, row.status)
            continue
        sizes = (figure_in_words(facts, which) for which in ("tumour", "largest"))
        longest = f"{facts['longest']:g} {facts['unit']}"
        table.add_row(row.case, *sizes, str(facts["parts"]), longest, f"{facts['seconds']:.1f}", facts["device"] or "")
    words = f"{cohort.done} case(s) predicted"
    words += f" in {cohort.seconds:.0f} s, {cohort.seconds / cohort.done:.1f} s each" if cohort.done else ""
    words += f"; {cohort.skipped} done before" if cohort.skipped else ""
    shown: list[RenderableType] = [table, f"{words}. Masks and summary.csv in {out}"]
    if cohort.failures:
        shown.append(f"{len(cohort.failures)} case(s) failed; run the same command again to try only them:")
        shown += [f"{row.case}: {row.error}" for row in cohort.failures]
    return shown
