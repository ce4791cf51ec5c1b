"""The command ``napari-breastseg``. Nothing heavy is imported before a command runs, so ``--help`` answers at once."""

from __future__ import annotations

from napari_breastseg.cli.app import main

__all__ = ["main"]
