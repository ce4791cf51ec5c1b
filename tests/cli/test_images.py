"""Images on the command line: the usual method unless another is asked for, also in a session that works with another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_breastseg.methods.model import load_model
from napari_breastseg.session import Session

Cli = Any


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).integers(0, 256, (64, 80), np.uint8)
        Image.fromarray(image).save(folder / f"{name}.png")
    return folder


def test_an_image_is_predicted_by_ha_net(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    said = cli("predict", pictures / "a.png", "--out", tmp_path / "a.nii.gz", "--json")
    assert said.code == 0
    assert said.answer["model"] == load_model("ha-net").sha
    assert (said.answer["tumour_ml"], said.answer["tumour_mm2"], said.answer["unit"]) == (None, None, "pixels")


def test_a_scale_beside_the_image_gives_its_area(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (pictures / "meta.json").write_text('{"PixelSpacing": [0.5, 0.5], "Modality": "US"}')
    answer = cli("predict", pictures / "a.png", "--out", tmp_path / "a.nii.gz", "--json").answer
    assert answer["unit"] == "mm" and answer["tumour_mm2"] == pytest.approx(answer["tumour_voxels"] * 0.25, abs=0.05)


def test_a_folder_of_images_is_predicted_by_ha_net(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    said = cli("predict", pictures, "--out", tmp_path / "masks", "--json")
    assert said.code == 0
    assert {path.name for path in (tmp_path / "masks").glob("*.nii.gz")} == {"a.nii.gz", "b.nii.gz"}


def test_a_mammogram_is_predicted_by_brems_net(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (pictures / "a.json").write_text('{"Modality": "MG"}')
    said = cli("predict", pictures / "a.png", "--out", tmp_path / "a.nii.gz", "--json")
    assert said.code == 0
    assert said.answer["model"] == load_model("brems-net").sha


def test_a_session_of_volumes_takes_images_and_goes_back(cli: Cli, phases: Path, weights: Path, pictures: Path, tmp_path: Path) -> None:
    """Each case is predicted by a model that suits it; an unsuitable one that is asked for is refused, and nothing is stored."""
    session = tmp_path / "session"
    assert cli("predict", phases, "--session", session, "--model", weights).code == 0
    volumes = load_model(weights).sha
    assert cli("predict", pictures / "a.png", "--session", session, "--json").answer["model"] == load_model("ha-net").sha
    refused = cli("predict", pictures / "b.png", "--session", session, "--model", weights)
    assert refused.code == 1 and "is made for dce-mri, but b is an image" in refused.err
    assert cli("predict", phases, "--session", session, "--json").answer["model"] == volumes
    with Session.open(session, read_only=True) as opened:
        assert len(opened.cases) == 2 and opened.current_model == volumes


def test_the_queue_of_images_without_a_model_asks_ha_net(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    from napari_breastseg.io import read_case

    with Session.create(tmp_path / "session") as session:
        for name in ("a", "b"):
            session.add_case(read_case(pictures / f"{name}.png"))
    said = cli("queue", "--session", tmp_path / "session", "--json")
    assert said.code == 0 and said.answer["waiting"] == 2
    assert all(one["entropy"] is not None for one in said.answer["queue"])


def test_what_an_image_was_taken_for_is_told(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    said = cli("predict", pictures / "a.png", "--out", tmp_path / "a.png")
    assert said.code == 0
    assert "does not tell what it shows and was taken for ultrasound" in said.err
    assert "by ha-net/compact; mask in" in said.out
    assert Image.open(tmp_path / "a.png").size == (80, 64)
    (pictures / "meta.json").write_text('{"Modality": "US"}')
    assert "taken for" not in cli("predict", pictures / "a.png", "--out", tmp_path / "b.png").err


def test_a_session_that_changes_its_method_says_so(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (pictures / "b.json").write_text('{"Modality": "MG"}')
    session = tmp_path / "session"
    assert "now uses" not in cli("predict", pictures / "a.png", "--session", session).err
    said = cli("predict", pictures / "b.png", "--session", session)
    assert "The session now uses brems-net/compact, also to learn; before it used ha-net/compact." in " ".join(said.err.split())


def test_a_folder_that_needs_two_methods_is_refused_unless_one_is_chosen(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (pictures / "b.json").write_text('{"Modality": "MG"}')
    refused = cli("predict", pictures, "--out", tmp_path / "masks")
    assert refused.code == 1
    assert "a needs ha-net, b needs brems-net" in " ".join(refused.err.split())
    assert not (tmp_path / "masks").exists()
    assert cli("predict", pictures, "--out", tmp_path / "masks", "--model", "ha-net").code == 1
    assert (tmp_path / "masks" / "a.nii.gz").exists()


@pytest.mark.parametrize(("kind", "modality"), [("ultrasound", "ultrasound"), ("mammogram", "mammography")])
def test_samples_are_cases_like_ones_own(cli: Cli, tmp_path: Path, kind: str, modality: str) -> None:
    from napari_breastseg.io.cohort import find_cases

    said = cli("sample", kind, "--out", tmp_path / "samples", "--count", "2", "--json")
    assert said.code == 0
    cases = find_cases(tmp_path / "samples")
    assert len(cases) == len(said.answer["samples"]) == 2
    for labelled in cases:
        case, truth = labelled.read()
        assert case.modality == modality
        assert 0 < truth.sum() < truth.size / 2
    again = cli("sample", kind, "--out", tmp_path / "samples")
    assert again.code == 1
    assert "is there already" in again.err


def test_a_sample_of_dce_mri_has_phases_times_and_truth(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import napari_breastseg.phantom as phantoms
    from napari_breastseg.io.cohort import find_cases

    make = phantoms.make_phantom
    monkeypatch.setattr(phantoms, "make_phantom", lambda seed, lesions: make(seed, (32, 48, 48), lesions=lesions))
    assert cli("sample", "dce-mri", "--out", tmp_path).code == 0
    (labelled,) = find_cases(tmp_path)
    case, truth = labelled.read()
    assert case.phases == len(case.times) == 5
    assert truth.any()


def test_maps_of_an_image_without_scale_speak_of_pixels(cli: Cli, tmp_path: Path) -> None:
    assert cli("sample", "ultrasound", "--out", tmp_path).code == 0
    (image,) = (tmp_path / "images").glob("*.png")
    said = cli("predict", image, "--out", tmp_path / "m.nii.gz", "--maps", "frloss", "--json")
    assert said.code == 0 and said.answer["hard_negatives"]
    for row in said.answer["hard_negatives"]:
        assert row["size"] == f"{row['voxels']} pixels" and row["distance"].endswith(" pixels")
        assert row["volume_ml"] is row["distance_mm"] is row["ras_mm"] is None


def test_the_version_is_told(cli: Cli) -> None:
    from napari_breastseg import __version__

    assert cli("--version").out.strip() == __version__


def test_a_sentence_with_a_long_path_is_one_line_in_a_log(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("a folder with a very long name " * 6).strip() / ("another " * 20).strip()
    deep.mkdir(parents=True)
    said = cli("predict", pictures / "a.png", "--out", deep / "a.png")
    assert said.code == 0
    assert len(said.out.splitlines()) == 1 and str(deep / "a.png") in said.out
