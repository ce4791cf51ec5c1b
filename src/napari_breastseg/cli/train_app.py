"""`train` and `reproduce`: networks from scratch, for oneself or row by row for a paper's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_breastseg.cli.options import Device, given
from napari_breastseg.cli.report import Debug, Json, report
from napari_breastseg.cli.train import Terms

Encoder = Annotated[Path | None, typer.Option(help="ImageNet weights of DenseNet-121 (ha-net) or ResNet-50 (brems-net), as .safetensors.")]


def train(
    method: Annotated[str, typer.Argument(help="Preset, such as hcma-unet or hcma-unet/paper.")],
    out: Annotated[Path, typer.Option(help="Folder for the state, and for the model at the end.")],
    phantoms: Annotated[int | None, typer.Option(min=0, help="Synthetic examinations to train on: 100, but none for ultrasound.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder per case (phases, *mask* file), MAMA-MIA's, or image files in images/, masks/."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    batch: Annotated[int | None, typer.Option(min=1, help="2, or 8 images.")] = None,
    patch: Annotated[
        int | None, typer.Option(min=16, help="Edge of the training patch in voxels: 64, or what an image's preset says.")
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    balanced: Annotated[bool, typer.Option("--balanced", help="Draw each folder of images equally often: benign, normal, ...")] = False,
    frloss: Annotated[Terms, typer.Option(help="Terms of FRLoss to add to cross-entropy and Dice: a row of Table III.")] = Terms.none,
    frloss_weight: Annotated[float | None, typer.Option(min=0, help="Lambda of FRLoss; 5.")] = None,
    boundary_reach: Annotated[int | None, typer.Option(min=0, help="T1 of FRLoss: voxels around the tumour; 10.")] = None,
    negative_reach: Annotated[int | None, typer.Option(min=0, help="T2: voxels around the hardest healthy voxels; 10.")] = None,
    hardest: Annotated[int | None, typer.Option(min=1, help="N of FRLoss: hardest healthy voxels per batch; 250.")] = None,
    start: Annotated[str | None, typer.Option(help="Model to start from.")] = None,
    encoder: Encoder = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model on phantoms, on folders of cases, or on both."""
    asked = given(weight=frloss_weight, boundary_reach=boundary_reach, negative_reach=negative_reach, hardest=hardest)
    if asked and frloss is Terms.none:
        raise typer.BadParameter("--frloss-weight, --boundary-reach, --negative-reach and --hardest need --frloss.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.train import train_model

        settings = {
            "phantoms": phantoms, "steps": steps, "batch": batch, "patch": patch, "learning_rate": learning_rate,
            "balanced": balanced, "seed": seed,
        }  # fmt: skip
        answer = train_model(speaker, method, out, data, start, encoder, resume, device, settings, {"terms": frloss.value, **asked})
        speaker.answer(answer, f"The model is in {answer['model']}")


def reproduce(
    method: Annotated[str, typer.Argument(help="The paper's method: hcma-unet, tsesnet, hcnet, ha-net or brems-net.")],
    table: Annotated[
        int,
        typer.Option(
            min=1,
            help="hcma-unet: 1 to 3; tsesnet: 1, 3 (its parts), 4 (fusion of the phases); hcnet: 1, 2 (number of clusters); ha-net: 3 "
            "(its parts), 4 and 5 (with U-Nets, on BUSI and on UDIAT); brems-net: 2 (with U-Nets), 3 (its parts).",
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder with a folder per case (phases, *mask* file), MAMA-MIA's, or image files in images/, masks/.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for split, weights, predictions and tables; the same command goes on there.")] = Path(
        "reproduction"
    ),
    test_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the patients to test on.")] = 0.2,
    folds: Annotated[int, typer.Option(min=0, help="Instead of one split: test on every patient once, in so many folds.")] = 0,
    patient: Annotated[
        str,
        typer.Option(help="Regular expression for the patient in a case's name; default: the name, without a mammogram's view."),
    ] = "",
    split_seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    fold_table: Annotated[
        Path | None,
        typer.Option(help="CSV file that gives each case (id) its fold, and what must stay together (patient, group or dup_group)."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    batch: Annotated[int | None, typer.Option(min=1, help="2, or 8 images.")] = None,
    patch: Annotated[
        int | None, typer.Option(min=16, help="Edge of the patches in voxels, 64; of images their longer side in pixels, 256.")
    ] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Draw each folder of images equally often: benign, normal, ...")] = False,
    learning_rate: Annotated[float, typer.Option(min=0, help="The papers' are 1e-4, HA-Net's is 1e-3.")] = 1e-3,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 1,
    encoder: Encoder = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a table of the method's paper on your cases, with what is known of the paper's figures beside yours."""
    if folds == 1:
        raise typer.BadParameter("--folds needs at least 2, or 0 for one split.")
    if fold_table is not None and (folds or patient):
        raise typer.BadParameter("--fold-table says it all. Leave --folds and --patient out.")
    with report(as_json, debug) as speaker:
        from napari_breastseg.cli.reproduce import reproduce_table

        split = {"test_share": test_share, "folds": folds, "patient": patient, "seed": split_seed, "table": str(fold_table or "")}
        settings = {
            "steps": steps, "batch": batch, "patch": patch, "learning_rate": learning_rate, "seeds": seeds, "balanced": balanced,
            "encoder": encoder,
        }  # fmt: skip
        reproduce_table(speaker, method, table, data, out, device, split, settings)
