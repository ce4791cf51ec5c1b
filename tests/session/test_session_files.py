"""What lies in a session opens in other programs, and what leaves it says where it comes from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models.v05
import pytest
import zarr

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import InputError, SessionError
from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.io import read_mask
from napari_breastseg.session import Session, Version
from napari_breastseg.session.disk.images import create_image, fill

from .helpers import SHAPE, make_case, make_prediction


def open_as_ome_zarr(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Read with plain zarr as any OME-Zarr reader would: the first dataset of the first multiscale."""
    group = zarr.open_group(str(path), mode="r")
    ome: dict[str, Any] = dict(group.attrs)["ome"]
    assert ome["version"] == "0.5"
    return ome, np.asarray(group[ome["multiscales"][0]["datasets"][0]["path"]][...])


def test_an_image_is_plain_ome_zarr(session: Session, case_id: str) -> None:
    case = make_case()
    ome, values = open_as_ome_zarr(session.path / "cases" / f"{case_id}.ome.zarr")
    (multiscale,) = ome["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in multiscale["axes"]] == [
        ("t", "time", "second"),
        ("z", "space", "millimeter"),
        ("y", "space", "millimeter"),
        ("x", "space", "millimeter"),
    ]
    assert multiscale["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [60.0, 2.0, 0.8, 0.7]}]
    np.testing.assert_array_equal(values, case.images)


def test_uneven_times_are_kept_but_not_called_a_scale(session: Session) -> None:
    case = make_case(phases=3).with_times((0.0, 60.0, 200.0))
    case_id = session.add_case(case)
    ome, _ = open_as_ome_zarr(session.path / "cases" / f"{case_id}.ome.zarr")
    assert ome["multiscales"][0]["axes"][0] == {"name": "t", "type": "time"}
    assert session.case(case_id).times == (0.0, 60.0, 200.0)


def test_snapshots_and_predictions_are_plain_ome_zarr_too(session: Session, case_id: str) -> None:
    session.record(case_id, random_edit(np.random.default_rng(0), 0))
    session.snapshot(case_id)
    ome, labels = open_as_ome_zarr(session.path / "labels" / case_id / "1.zarr")
    assert "image-label" in ome
    np.testing.assert_array_equal(labels, session.annotation(case_id))
    prediction = make_prediction()
    session.add_prediction(case_id, prediction)
    for name in ("probability", "coarse", "refined"):
        ome, values = open_as_ome_zarr(session.path / "predictions" / "1.zarr" / name)
        assert [axis["name"] for axis in ome["multiscales"][0]["axes"]] == ["z", "y", "x"]
        np.testing.assert_array_equal(values, getattr(prediction, name))


def test_other_validators_agree(session: Session, case_id: str, tmp_path: Path) -> None:
    session.snapshot(case_id)
    session.add_prediction(case_id, make_prediction())
    session.export(case_id, tmp_path / "out", ome_zarr=True)
    stored = [
        f"cases/{case_id}.ome.zarr",
        f"labels/{case_id}/0.zarr",
        *(f"predictions/1.zarr/{name}" for name in ("probability", "refined")),
    ]
    exported = tmp_path / "out" / f"{case_id}.ome.zarr"
    for path in (*(session.path / name for name in stored), exported):
        image = ome_zarr_models.v05.Image.from_zarr(zarr.open_group(str(path), mode="r"))
        assert [axis.unit for axis in image.ome_attributes.multiscales[0].axes if axis.type == "space"] == ["millimeter"] * 3
    labels = ome_zarr_models.v05.Labels.from_zarr(zarr.open_group(str(exported / "labels"), mode="r"))
    assert list(labels.ome_attributes.labels) == ["tumour", "annotation"]
    for name in labels.ome_attributes.labels:
        label = ome_zarr_models.v05.ImageLabel.from_zarr(zarr.open_group(str(exported / "labels" / name), mode="r"))
        assert label.ome_attributes.image_label is not None


def test_an_exported_session_opens_in_a_plain_reader(session: Session, tmp_path: Path) -> None:
    case = make_case()
    case_id = session.add_case(case)
    session.record(case_id, random_edit(np.random.default_rng(0), 0))
    session.export(case_id, tmp_path / "out", ome_zarr=True)
    folder = tmp_path / "out" / f"{case_id}.ome.zarr"
    ome, values = open_as_ome_zarr(folder)
    np.testing.assert_array_equal(values, case.images)
    for name, expected in (("tumour", session.mask(case_id)), ("annotation", session.annotation(case_id))):
        ome, values = open_as_ome_zarr(folder / "labels" / name)
        np.testing.assert_array_equal(values, expected)
        assert ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [2.0, 0.8, 0.7]}]
    own: dict[str, Any] = dict(zarr.open_group(str(folder), mode="r").attrs)["napari-breastseg"]  # type: ignore[assignment]
    np.testing.assert_array_equal(own["affine"], case.geometry.affine)
    assert own["times"] == [0.0, 60.0] and own["provenance"]["case"]["sha256"] == session.provenance(case_id)["case"]["sha256"]


def test_provenance_names_models_edits_programs_and_shares(session: Session, case_id: str, weights: Callable[[int], Path]) -> None:
    first = session.add_model(weights(0), {"preset": "p", "training": {"seed": 4}})
    second = session.add_model(weights(1), {"preset": "p", "parent": first, "learning": {"seed": 1}})
    session.add_round([case_id], first, second, True, ["better"], {"dice": 0.6}, {case_id: 7})
    prediction = make_prediction()
    object.__setattr__(prediction, "model", second)
    session.add_prediction(case_id, prediction)
    for base in range(3):
        session.record(case_id, random_edit(np.random.default_rng(base), base))
    said = session.provenance(case_id)
    assert json.loads(json.dumps(said)) is not None
    assert [(model["sha256"], model["learned"] and model["learned"]["seqs"]) for model in said["models"]] == [
        (second, {case_id: 7}),
        (first, None),
    ]
    assert said["models"][0]["card"]["learning"]["seed"] == 1
    assert (said["prediction"]["model"], said["prediction"]["seq"]) == (second, 0)
    assert (
        sum(share["added"] for share in said["mask"]["tumour_comes_from"]) == said["mask"]["tumour_voxels"] == session.mask(case_id).sum()
    )
    assert said["software"]["written_with"][0]["numpy"] == np.__version__
    earlier = session.provenance(case_id, Version(1, None))
    assert (len(earlier["annotation"]["edits"]), earlier["models"], earlier["prediction"]) == (1, [], None)
    with pytest.raises(InputError, match="no prediction 99"):
        session.provenance(case_id, Version(0, 99))


def test_what_is_no_number_leaves_the_exports_readable(
    session: Session, case_id: str, weights: Callable[[int], Path], tmp_path: Path
) -> None:
    sha = session.add_model(weights(0), {"preset": "p", "metrics": {"dice": float("nan")}})
    session.add_round([case_id], None, sha, True, ["better"], {"dice": [float("inf"), 1.0]}, {})
    prediction = make_prediction()
    object.__setattr__(prediction, "model", sha)
    session.add_prediction(case_id, prediction)
    session.export(case_id, tmp_path, ome_zarr=True)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for path in (tmp_path / f"{case_id}.provenance.json", tmp_path / f"{case_id}.ome.zarr" / "zarr.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    said = session.provenance(case_id)
    assert said["models"][0]["card"]["metrics"]["dice"] is None and said["models"][0]["learned"]["figures"]["dice"] == [None, 1.0]


@pytest.mark.parametrize("shape", [(1, 300, 270), (70, 33, 65), (3, 1, 1), (9, 64, 64)])
def test_every_chunk_is_written_sharded_and_checksummed(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    values = np.zeros(shape, np.float32)
    values[..., 0] = 3.5
    array = create_image(tmp_path / "x.zarr", "x", shape, np.float32, (1.0, 1.0, 1.0))
    fill(array, values)
    np.testing.assert_array_equal(np.asarray(array[...]), values)
    (shard,) = json.loads((tmp_path / "x.zarr" / "0" / "zarr.json").read_text())["codecs"]
    assert shard["name"] == "sharding_indexed"
    assert [codec["name"] for codec in shard["configuration"]["codecs"]] == ["bytes", "zstd", "crc32c"]
    files = [path for path in (tmp_path / "x.zarr" / "0" / "c").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_images_larger_than_a_shard_are_written_in_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_breastseg.session.disk.images._SHARD_BYTES", 1)
    values = np.random.default_rng(0).random((2, 150, 20, 30), dtype=np.float32)
    array = create_image(tmp_path / "x.zarr", "x", values.shape, np.float32, (1.0, 1.0, 1.0), leading="t")
    for phase in range(2):
        fill(array, values[phase], first=phase)
    np.testing.assert_array_equal(np.asarray(array[...]), values)
    assert array.shards == (1, 64, 20, 30)


def test_a_lazy_image_is_read_one_phase_at_a_time(session: Session) -> None:
    truth = make_case(3, phases=4)

    class Lazy:
        shape, dtype = truth.images.shape, truth.images.dtype

        def __getitem__(self, index: object) -> np.ndarray:
            assert isinstance(index, int)
            return np.asarray(truth.images[index])

    case_id = session.add_case(Case("lazy", Lazy(), truth.geometry, truth.times))
    np.testing.assert_array_equal(np.asarray(session.case(case_id).images), truth.images)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_files_that_vanish_after_they_were_checked_are_not_taken_for_zeros(session: Session, case_id: str, how: str) -> None:
    session.record(case_id, random_edit(np.random.default_rng(0), 0))
    session.snapshot(case_id)
    stored = session.case(case_id).images
    folder = session.path / "cases" / f"{case_id}.ome.zarr"
    shutil.copytree(folder, folder.with_name("aside"))
    shutil.rmtree(folder)
    if how == "replaced":
        shutil.copytree(folder.with_name("aside"), folder, copy_function=shutil.copyfile)
    with pytest.raises(SessionError, match="removed|replaced|No such file"):
        stored[1, 2]


def test_a_stored_image_slices_like_an_array(session: Session, case_id: str) -> None:
    stored, truth = session.case(case_id).images, make_case().images
    assert (stored.shape, stored.dtype, stored.ndim, stored.size, len(stored)) == (truth.shape, truth.dtype, 4, truth.size, 2)
    for index in (0, (1, slice(2, 4)), (Ellipsis, 3), (slice(None), 2, 5, 6)):
        np.testing.assert_array_equal(stored[index], truth[index])
    with pytest.raises(IndexError):
        stored[7]


def test_an_export_is_a_mask_on_the_original_grid_and_its_provenance(
    session: Session, tmp_path: Path, weights: Callable[[int], Path]
) -> None:
    affine = np.diag([-0.7, -0.8, 2.0, 1.0])
    case_id = session.add_case(Case("c", make_case().images, Geometry((2.0, 0.8, 0.7), affine, SHAPE[::-1]), (0.0, 60.0)))
    sha = session.add_model(weights(0), {"preset": "p", "metrics": {"dice": 0.5}})
    prediction = make_prediction()
    object.__setattr__(prediction, "model", sha)
    session.add_prediction(case_id, prediction)
    session.record(case_id, random_edit(np.random.default_rng(0), 0))
    session.undo(case_id)
    session.mark(case_id, "case-done", True)
    target = session.export(case_id, tmp_path / "out")
    np.testing.assert_array_equal(read_mask(target, session.case(case_id)), session.mask(case_id))
    said = json.loads((tmp_path / "out" / f"{case_id}.provenance.json").read_text())
    assert said["prediction"]["model"] == sha
    assert said["models"][0]["card"]["metrics"] == {"dice": 0.5}
    assert said["annotation"]["seq"] == 2
    assert [(edit["tool"], edit["undoes"]) for edit in said["annotation"]["edits"]] == [("brush", None), ("undo", 1)]
    assert said["mask"]["tumour_voxels"] == int(session.mask(case_id).sum())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{case_id}.nii.gz", f"{case_id}.provenance.json"]
