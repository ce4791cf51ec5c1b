"""What the plugin's menu entries do besides opening the dock."""

from __future__ import annotations

import napari
from qtpy.QtWidgets import QFileDialog

PLUGIN = "napari-breastseg"


def open_examination(viewer: napari.Viewer) -> None:
    """Ask for a folder with one NIfTI file per phase and open it as one examination."""
    folder = QFileDialog.getExistingDirectory(None, "Folder of one breast examination (one NIfTI file per phase)")
    if folder:
        viewer.open(folder, plugin=PLUGIN)
