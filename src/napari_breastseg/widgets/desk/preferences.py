"""What the person set for this plugin in napari's Preferences; the manifest says what there is and what holds by default."""

from __future__ import annotations

from typing import Any

from napari.settings import get_plugin_settings

NAME = "napari-breastseg"


def preferences() -> Any:
    """Return the settings, which tell of changes through `events`: attributes as under "configurations" in the manifest."""
    return get_plugin_settings(NAME)
