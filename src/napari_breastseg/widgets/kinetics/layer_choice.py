"""A choice among the layers of labels that are there."""

from __future__ import annotations

from napari.layers import Labels
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_breastseg.widgets.desk.messages import plain


class LayerChoice(QComboBox):
    """One fixed choice, and the layers of labels that are there."""

    def __init__(self, fixed: str, tooltip: str) -> None:
        super().__init__()
        self._fixed = fixed
        self._layers: list[Labels] = []
        self.setToolTip(tooltip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.offer([])

    @property
    def layer(self) -> Labels | None:
        """The layer that is chosen; None for the fixed choice."""
        place = self.currentIndex() - 1
        return self._layers[place] if 0 <= place < len(self._layers) else None

    def offer(self, layers: list[Labels]) -> None:
        """Offer these layers; what was chosen stays chosen while it is there."""
        chosen, self._layers = self.layer, layers
        self.blockSignals(True)
        self.clear()
        self.addItems([self._fixed, *(plain(layer.name) for layer in layers)])
        self.setCurrentIndex(layers.index(chosen) + 1 if chosen in layers else 0)
        self.blockSignals(False)
