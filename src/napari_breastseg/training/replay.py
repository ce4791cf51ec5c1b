"""Replay: exemplars that a fine-tune keeps practising on, and others on which it must not become worse."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import platformdirs

from napari_breastseg.case import BACKGROUND
from napari_breastseg.errors import InputError
from napari_breastseg.io.atomic import write_atomically
from napari_breastseg.methods.preset import Preset
from napari_breastseg.preprocess.intensity import with_clock
from napari_breastseg.progress import Job, Progress
from napari_breastseg.training.sampling import Points, Volume, cut, draw_centre, make_volume

SHAPE = (96, 160, 160)
PRACTICE_SEEDS = range(9000, 9008)
"""Exemplars to practise on."""
EXAM_SEEDS = (9100, 9102, 9107, 9110, 9113, 9117, 9119, 9120)
"""Exemplars to judge on: fixed, and never trained on by anything. The first ones from 9100 on with 2 mL of tumour or more, since in less a
few voxels more or fewer move a case's Dice by more than the gate allows."""
Size = tuple[int, int, int]
"""Voxels (z, y, x) of a window."""
Window = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]
"""Image (channel, z, y, x) and labels (z, y, x)."""
_VERSION = 1  # counts changes of the phantom that make cached volumes stale


def replay_volumes(preset: Preset, seeds: Sequence[int], cache: Path | None = None) -> Job[list[Volume]]:
    """Return the exemplars of `seeds` on the preset's working grid, made once per computer and then read back; none if it has none.

    Parameters
    ----------
    cache : Path, optional
        Folder to keep them in; the user's cache folder if not given.
    """
    if preset.exemplar is None:
        return []
    folder = cache or cache_folder()
    volumes = []
    for index, seed in enumerate(seeds):
        yield Progress(index, len(seeds), "Preparing replay cases")
        volumes.append(phantom_volume(preset, seed, SHAPE, folder))
    return volumes


def cache_folder() -> Path:
    """Return where exemplars are kept on this computer."""
    return Path(platformdirs.user_cache_dir("napari-breastseg")) / f"replay-{_VERSION}"


def phantom_volume(preset: Preset, seed: int, shape: tuple[int, int, int], folder: Path) -> Volume:
    """Return one exemplar on the preset's working grid, from `folder` if it was made before.

    Raises
    ------
    InputError
        If the preset has none.
    """
    if preset.exemplar is None:
        raise InputError(f"There are no synthetic cases for {preset.name}. Give a folder of cases.")
    path = folder / f"{preset.name.replace('/', '-')}-{seed}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            centres = {kind: stored[kind] for kind in ("tumour", "bright", "body")}
            return Volume(stored["channels"], stored["labels"], centres, tuple(map(float, stored["clock"])))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # not made yet, or damaged
        volume = make_volume(*preset.exemplar(seed, shape), preset, seed)
        folder.mkdir(parents=True, exist_ok=True)
        content = BytesIO()
        np.savez(content, channels=volume.channels, labels=volume.labels, clock=volume.clock, **volume.centres)  # type: ignore[arg-type]
        write_atomically(path, content.getvalue())
        return volume


def central_windows(volumes: Sequence[Volume], size: Size) -> list[Window]:
    """Cut from each volume the window around the middle of its tumours, or around bright healthy tissue if it has none."""
    windows = []
    for volume in volumes:
        points = volume.centres["tumour"] if len(volume.centres["tumour"]) else volume.centres["bright"]
        windows.append(_window(volume, points[np.argmin(((points - points.mean(0)) ** 2).sum(1))], size))
    return windows


def exam_windows(volumes: Sequence[Volume], size: Size) -> list[list[Window]]:
    """Cut from each volume the window around its tumours and one around bright healthy tissue, where false alarms come from."""
    exam = []
    for volume, central in zip(volumes, central_windows(volumes, size), strict=True):
        bright = volume.centres["bright"]
        exam.append([central, _window(volume, bright[len(bright) // 2], size)] if len(bright) else [central])
    return exam


def practice_windows(volumes: Sequence[Volume], size: Size, drawn: int = 3, seed: int = 0) -> list[Window]:
    """Return the central windows and `drawn` others of every volume, about half of those on a tumour, the rest on bright healthy tissue."""
    rng = np.random.default_rng(seed)
    windows = central_windows(volumes, size)
    for volume in volumes:
        for _ in range(drawn):
            jitter = rng.integers(-size[-1] // 4, size[-1] // 4 + 1, 3) * (np.array(size) > 1)
            windows.append(_window(volume, draw_centre(rng, volume, 0.5) + jitter, size))
    return windows


def _window(volume: Volume, centre: Points, size: Size) -> Window:
    half = np.array(size) // 2
    centre = np.clip(centre, half, np.maximum(np.array(volume.labels.shape) - half, half))
    image = cut(volume.channels, centre, size, float(volume.channels[0].min())).astype(np.float32)
    return with_clock(image, volume.clock), cut(volume.labels, centre, size, BACKGROUND)
