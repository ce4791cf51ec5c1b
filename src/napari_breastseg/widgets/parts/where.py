"""Where learning runs: this computer, or a Dask scheduler whose address is remembered."""

from __future__ import annotations

from qtpy.QtCore import QSettings, Qt
from qtpy.QtWidgets import QComboBox, QLineEdit, QVBoxLayout, QWidget

from napari_breastseg.errors import InputError
from napari_breastseg.widgets.parts.section import row

HERE, SCHEDULER = "this computer", "Dask scheduler"
_KEY = "learn/scheduler"


def settings() -> QSettings:
    """Return what the dock remembers for this account, outside of the sessions."""
    return QSettings("napari-breastseg", "dock")


class Where(QWidget):
    """A choice, and the address of the scheduler while that is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.choice = QComboBox()
        self.choice.addItems((HERE, SCHEDULER))
        self.choice.setToolTip("Where the model learns: in a process of its own here, or on a Dask scheduler, for a GPU elsewhere")
        self.choice.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.field = QLineEdit(str(settings().value(_KEY, "")))
        self.field.setPlaceholderText("tcp://host:8786")
        self.field.setToolTip("The address that the Dask scheduler prints when it starts")
        self.field.setVisible(False)
        self.field.editingFinished.connect(lambda: settings().setValue(_KEY, self.field.text().strip()))
        self.choice.currentTextChanged.connect(lambda chosen: self.field.setVisible(chosen == SCHEDULER))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addLayout(row("On", self.choice, stretch=1))
        column.addWidget(self.field)

    @property
    def address(self) -> str:
        """The scheduler's address, empty for this computer.

        Raises
        ------
        InputError
            If a scheduler is chosen and none is named.
        """
        if self.choice.currentText() == HERE:
            return ""
        address = self.field.text().strip()
        if not address:
            raise InputError("No Dask scheduler is named. Write its address, such as tcp://host:8786, or learn on this computer.")
        return address
