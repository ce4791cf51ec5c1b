from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

import napari_breastseg


def test_the_import_is_light() -> None:
    heavy = {"torch", "numpy", "napari", "monai", "zarr"}
    code = f"import sys, napari_breastseg; print(*({heavy} & {{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""


@pytest.mark.parametrize("chosen", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "77"}])
def test_waiting_threads_do_not_spin_unless_somebody_chose_so(chosen: dict[str, str]) -> None:
    code = "import os, napari_breastseg; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
    usual = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=usual | chosen).stdout.split()
    wanted = chosen or {"GOMP_SPINCOUNT": "1000"}
    assert said == [wanted.get("OMP_WAIT_POLICY", "None"), wanted.get("GOMP_SPINCOUNT", "None")]


@pytest.mark.parametrize("name", napari_breastseg.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(napari_breastseg, name) is not None
    assert name in dir(napari_breastseg)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = napari_breastseg.nonsense


def test_the_version_is_the_installed_one() -> None:
    assert napari_breastseg.__version__ == version("napari-breastseg")


def test_napari_finds_the_manifest() -> None:
    (entry,) = (e for e in entry_points(group="napari.manifest") if e.name == "napari-breastseg")
    assert entry.value == "napari_breastseg:napari.yaml"
