"""What came of comparing two versions: what the colours mean, how much of each there is, and where it comes from."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_breastseg.case import Geometry
from napari_breastseg.measure import amount
from napari_breastseg.session import Comparison, Share
from napari_breastseg.widgets.parts.models_table import figures_table, fill_row
from napari_breastseg.widgets.parts.section import text
from napari_breastseg.widgets.parts.words import one_line, when
from napari_breastseg.widgets.view.version_layers import ADDED_COLOUR, REMOVED_COLOUR

COLUMNS = {
    "Changed by": "The edit, or the model that predicted",
    "When": "When it was made",
    "+": "Voxels that became tumour",
    "−": "Voxels that stopped being tumour",
}
_MEANING = "Which edits and models made the differing voxels what they are now, the latest first"


class Compared(QWidget):
    """A legend and a table of the edits and models that made the differing voxels what they are, the latest first."""

    def __init__(self) -> None:
        super().__init__()
        self.legend = text("")
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.table = figures_table(COLUMNS, 130)
        self.table.setToolTip(_MEANING)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(self.legend)
        column.addWidget(self.table)
        self.setVisible(False)

    def fill(self, compared: Comparison, geometry: Geometry) -> None:
        """Show what came of comparing."""
        self.legend.setText(legend(compared, geometry))
        self.table.setRowCount(len(compared.shares))
        for line, share in enumerate(reversed(compared.shares)):
            words = (by(share), when(share.time) if share.time else "", f"{share.added:,}", f"{share.removed:,}")
            fill_row(self.table, line, words, 2, [_MEANING] * len(words))
        self.setVisible(True)


def legend(compared: Comparison, geometry: Geometry) -> str:
    """Say what the colours mean, and how much of each there is; no word of it comes from the session."""
    flat = compared.after.shape[0] == 1
    lines = [
        f"<span style='color: {colour}'>■</span> {words}{count:,} voxels, {amount(count, geometry, flat)}"
        for colour, words, count in (
            (ADDED_COLOUR, "Added since: ", int((compared.after > compared.before).sum())),
            (REMOVED_COLOUR, "Removed since: ", int((compared.before > compared.after).sum())),
        )
    ]
    return "<br>".join(lines)


def by(share: Share) -> str:
    """Name what made voxels what they are."""
    if share.kind == "edit":
        return f"{one_line(share.by, 40)} #{share.number}"
    if share.kind == "done":
        return "case done"
    if share.kind == "nothing":
        return "no prediction"
    return f"model {one_line(share.by[:8])}" + (", refined" if share.kind == "refinement" else "")
