"""Whatever a person gives: one sentence, exit code 1, nothing changed on disk."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_breastseg.io import read_case
from napari_breastseg.session import Session

Cli = Callable[..., Any]
AFFINE = np.diag([-1.0, -1.5, 2.0, 1.0])


def save(path: Path, array: Any) -> None:
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def digest(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder; folders count too. What SQLite leaves when a session was only read is no content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith("-shm") and not (path.name.endswith("-wal") and path.stat().st_size == 0)
    }


def no_image(case: Path) -> Path:
    (case.parent / "notes.nii.gz").write_text("these are notes")
    return case.parent / "notes.nii.gz"


def no_such_file(case: Path) -> Path:
    return case.parent / "nothing-here.nii.gz"


def other_shape(case: Path) -> Path:
    save(case / "case_0002.nii.gz", np.ones((20, 16, 11), np.float32))
    return case


def not_a_number(case: Path) -> Path:
    image = np.ones((20, 16, 12), np.float32)
    image[3, 3, 3] = np.nan
    save(case / "case_0001.nii.gz", image)
    return case


def hole_in_the_series(case: Path) -> Path:
    (case / "case_0001.nii.gz").unlink()
    return case


def one_phase(case: Path) -> Path:
    return case / "case_0001.nii.gz"


def constant(case: Path) -> Path:
    for index in range(3):
        save(case / f"case_{index:04d}.nii.gz", np.full((20, 16, 12), 7, np.float32))
    return case


BAD = [no_image, no_such_file, other_shape, not_a_number, hole_in_the_series, one_phase, constant]


def is_one_sentence(said: Any) -> bool:
    text = said.err.strip()
    return bool(said.code == 1 and text and "Traceback" not in text and said.answer == {"error": " ".join(text.split())})


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("command", ["predict", "simulate"])
def test_bad_images(cli: Cli, phases: Path, weights: Path, tmp_path: Path, spoil: Callable[[Path], Path], command: str) -> None:
    image = spoil(phases)
    before = digest(tmp_path)
    common = ("--model", weights, "--session", tmp_path / "session", "--json")
    if command == "predict":
        said = cli("predict", image, "--out", tmp_path / "mask.nii.gz", *common)
    else:
        said = cli("simulate", "--case", image, "--reference", phases / "truth.nii.gz", *common)
    assert is_one_sentence(said), (said.out, said.err)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("what", ["empty", "other grid", "many values"])
def test_bad_references(cli: Cli, phases: Path, weights: Path, tmp_path: Path, what: str) -> None:
    shape = (20, 16, 11) if what == "other grid" else (20, 16, 12)
    mask = np.arange(np.prod(shape)).reshape(shape) % 5 if what == "many values" else np.zeros(shape)
    save(phases / "truth.nii.gz", mask.astype(np.uint8))
    before = digest(tmp_path)
    arguments = ("--reference", phases / "truth.nii.gz", "--model", weights, "--session", tmp_path / "session", "--json")
    said = cli("simulate", "--case", phases, *arguments)
    assert is_one_sentence(said), (said.out, said.err)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("model", ["no-such-model", "case/case_0000.nii.gz", "pickle.pt"])
def test_bad_models(cli: Cli, phases: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pickle.pt").write_bytes(b"\x80\x04.")
    before = digest(tmp_path)
    said = cli("predict", phases, "--out", "mask.nii.gz", "--session", "session", "--model", model, "--json")
    assert is_one_sentence(said), (said.out, said.err)
    assert digest(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        (("missing/mask.nii.gz",), "Make it first"),
        (("mask.png",), "no name of a NIfTI file, and .* counts as one examination"),
        (("case/truth.nii.gz",), "is there already. Choose another name, or add --overwrite"),
        (("case/case_0001.nii.gz",), "is an image of the examination itself"),
        (("case/../case/case_0001.nii.gz", "--overwrite"), "is an image of the examination itself"),
    ],
)
def test_bad_places_for_the_mask(cli: Cli, phases: Path, weights: Path, tmp_path: Path, out: tuple[str, ...], sentence: str) -> None:
    before = digest(tmp_path)
    said = cli("predict", phases, "--out", tmp_path / out[0], *out[1:], "--model", weights, "--json")
    assert is_one_sentence(said) and re.search(sentence, said.answer["error"])
    assert digest(tmp_path) == before


@pytest.fixture
def session(phases: Path, tmp_path: Path) -> Path:
    with Session.create(tmp_path / "session") as opened:
        opened.add_case(read_case(phases))
    return tmp_path / "session"


@pytest.mark.parametrize(
    "correction", ["unknown=case/truth.nii.gz", "case=nothing.nii.gz", "case", "=case/truth.nii.gz", "case=case/case_0000.nii.gz"]
)
def test_bad_corrections(cli: Cli, session: Path, tmp_path: Path, correction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = digest(session)
    assert is_one_sentence(cli("learn", "--session", session, "--correction", correction, "--json"))
    assert digest(session) == before


def test_the_good_corrections_of_a_bad_command_are_not_recorded(cli: Cli, session: Path, phases: Path) -> None:
    before = digest(session)
    good = f"case={phases / 'truth.nii.gz'}"
    assert is_one_sentence(cli("learn", "--session", session, "--correction", good, "--correction", "case=no.nii.gz", "--json"))
    assert digest(session) == before


@pytest.mark.parametrize("command", ["learn", "verify", "models"])
def test_no_session(cli: Cli, tmp_path: Path, command: str) -> None:
    assert is_one_sentence(cli(command, "--session", tmp_path / "none", "--json"))
    assert digest(tmp_path) == {}


def test_export_of_an_unknown_case(cli: Cli, session: Path, tmp_path: Path) -> None:
    before = digest(tmp_path)
    assert is_one_sentence(cli("export", "--session", session, "--case", "other", "--out", tmp_path / "out", "--json"))
    assert digest(tmp_path) == before


def test_a_session_open_elsewhere(session: Path, phases: Path, weights: Path, tmp_path: Path) -> None:
    commands = [
        ["learn", "--session", str(session), "--json"],
        ["predict", str(phases), "--session", str(session), "--model", str(weights), "--json"],
    ]
    with Session.open(session):
        before = digest(tmp_path)
        for command in commands:
            code = "from napari_breastseg.cli import main; main()"
            done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert "open" in json.loads(done.stdout)["error"] and "Traceback" not in done.stderr
        assert digest(tmp_path) == before


@pytest.mark.parametrize(
    ("error", "text"),
    [(MemoryError(), "not enough memory"), (OSError(28, "No space left on device"), "No space left"), (KeyError("x"), "--debug")],
)
def test_other_failures(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("napari_breastseg.cli.facts.preset_facts", fail)
    said = cli("methods", "--json")
    assert is_one_sentence(said) and text in said.answer["error"]


def test_ctrl_c_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_breastseg.cli.facts.preset_facts", stop)
    assert is_one_sentence(cli("methods", "--json"))
