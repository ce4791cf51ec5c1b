"""Section Case: which examination, and in which session the work on it is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from html import escape
from pathlib import Path

from napari.layers import Layer
from napari.viewer import Viewer
from platformdirs import user_data_path
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLabel, QSizePolicy

from napari_breastseg.case import Case
from napari_breastseg.errors import InputError
from napari_breastseg.io import read_case
from napari_breastseg.io.image_files import SUFFIXES
from napari_breastseg.io.listing import Listing, is_cohort, list_cases
from napari_breastseg.progress import Job, Progress
from napari_breastseg.session.disk.places import DATABASE
from napari_breastseg.widgets.desk.desk import Desk
from napari_breastseg.widgets.desk.messages import told
from napari_breastseg.widgets.parts.motion import MotionPanel
from napari_breastseg.widgets.parts.queue_list import QueueList
from napari_breastseg.widgets.parts.section import JobBar, Section, button, row, text
from napari_breastseg.widgets.view import layers

PATH = "breastseg_path"
"""Where the reader notes in an image layer's metadata from which file or folder it came."""
MOST_NAMES = 12
PATTERNS = " ".join(f"*{suffix}" for suffix in (".nii", ".nii.gz", *SUFFIXES))


def sessions_folder() -> Path:
    """Return where sessions are kept unless the person chooses another place."""
    return user_data_path("napari-breastseg", appauthor=False) / "sessions"


class CaseSection(Section):
    """Open an examination, or take one that is open in napari; choose the session."""

    def __init__(self, desk: Desk, device: Callable[[], str]) -> None:
        super().__init__("1 · Case", desk)
        self._viewer: Viewer = desk.viewer
        self._folder: Path | None = None
        self.open_file = button(
            "Open file...",
            "Open a NIfTI file with one image or all phases, or an ultrasound image or mammogram (PNG, JPEG, TIFF)",
            self._ask_file,
        )
        self.open_folder = button(
            "Open folder...",
            "Open a folder with one NIfTI file per phase (..._0000.nii.gz, ...), or one of many examinations or images",
            self._ask_folder,
        )
        self.images = _combo("The examinations that are open in napari as image layers")
        self.use = button("Use", "Work on the chosen image. It is copied into the session; the original is never changed.", self._use)
        self.link = QCheckBox("Link, do not copy")
        self.link.setToolTip(
            "The images stay where they are; the session keeps their path and hash, and checks them when it opens them. Do not move them."
        )
        self.case_bar = JobBar(desk, "case")
        self.cases = _combo("The cases of this session; choose one to go on with it")
        self.cases_label = QLabel("Case")
        self.motion = MotionPanel(desk)
        self.queue = QueueList(desk, device)
        self.left_behind = text("")
        self.left_behind.setTextFormat(Qt.TextFormat.PlainText)
        self.left_behind.setToolTip("What the files said besides the images, and what was not taken over: it may tell who the patient is.")
        self.follow = button(
            "Follow links", "Read the images that this session links to, now and whenever it is opened here", desk.follow_links
        )
        self.recovered = text("")
        self.recovered.setTextFormat(Qt.TextFormat.PlainText)
        self.session_text = text("")
        self.open_session = button("Open session...", "Go on with earlier work: choose the folder of a session", self._ask_session)
        self.new_place = button("Keep in...", "Choose an empty folder for the new session, instead of the usual place", self._ask_place)
        self.latest = button("Continue", "Go on with the session that was used last", self._continue)
        self.column.addLayout(row(self.open_file, self.open_folder))
        self.column.addLayout(row("Image", self.images, self.use, stretch=1))
        self.column.addWidget(self.link)
        self.column.addWidget(self.case_bar)
        self.column.addLayout(row(self.cases_label, self.cases, stretch=1))
        self.column.addWidget(self.queue)
        self.column.addWidget(self.hint)
        self.column.addWidget(self.motion)
        self.column.addWidget(self.follow)
        self.column.addWidget(self.left_behind)
        self.column.addWidget(self.recovered)
        self.column.addLayout(row(self.latest, self.open_session, self.new_place))
        self.column.addWidget(self.session_text)
        self.use.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        switch = told(lambda *_: desk.show_case(self.cases.currentData()))
        self.cases.activated.connect(lambda *_: switch())
        self.images.currentIndexChanged.connect(self._enable_link)
        desk.saved.connect(self._show_recovered)
        self._viewer.layers.events.inserted.connect(self._on_layers)
        self._viewer.layers.events.removed.connect(self._on_layers)
        self._list_images()
        self.refresh()

    def leave(self) -> None:
        """Stop listening to the viewer."""
        self._viewer.layers.events.inserted.disconnect(self._on_layers)
        self._viewer.layers.events.removed.disconnect(self._on_layers)

    def refresh(self) -> None:
        """Show the case and the session that are open."""
        desk, busy = self.desk, self.desk.jobs.busy
        for control in (self.open_file, self.open_folder, self.open_session, self.cases):
            control.setEnabled(not busy)
        self.use.setEnabled(not busy and self.images.count() > 0 and not desk.read_only)
        self.latest.setVisible(desk.session is None and _latest_session() is not None)
        self.latest.setEnabled(not busy)
        self.new_place.setVisible(desk.session is None)
        self.new_place.setEnabled(not busy)
        self._list_cases()
        self.queue.refresh()
        self.motion.refresh()
        self._enable_link()
        self._show_recovered()
        self.follow.setVisible(bool(desk.refusal))
        self.follow.setEnabled(not busy)
        case = None if desk.view is None else desk.view.case
        _say(self.left_behind, "" if case is None else _left_behind(case))
        if case is not None:
            self.say(f"<b>{escape(case.name)}</b>: {_extent(case)}")
        elif desk.refusal:
            self.say(escape(desk.refusal))
        elif self.images.count():
            self.say("Choose an image and press <b>Use</b>.")
        else:
            self.say("Open an examination, or try File ▸ Open Sample ▸ napari-breastseg.")
        self.session_text.setText(self._session_words())

    def step(self, step: int) -> None:
        """Show the case that stands `step` after the present one in the list."""
        if self.desk.jobs.busy:
            raise InputError("Something else is running. Wait for it or cancel it, then choose the case again.")
        place = self.cases.currentIndex() + step
        if not 0 <= place < self.cases.count():
            raise InputError(f"This is the {'last' if step > 0 else 'first'} case of the session. Open another, or ask which case next.")
        self.desk.show_case(self.cases.itemData(place))

    def _enable_link(self, _: object = None) -> None:
        """Offer to link what came from a file, or will."""
        layer = self._chosen()
        self.link.setEnabled(not self.desk.jobs.busy and not self.desk.read_only and (layer is None or PATH in layer.metadata))

    def _show_recovered(self, _: object = None) -> None:
        _say(self.recovered, "\n".join(self.desk.recovered))

    def _session_words(self) -> str:
        session = self.desk.session
        if session is None:
            return f"New work is kept in {_breakable(self._folder or sessions_folder())}"
        if self.desk.read_only:
            return f"<b>Read only:</b> the session is open in {escape(self.desk.locked_by)}. Close it there to go on here."
        return "<br>".join([f"Kept in {_breakable(session.path)}", *map(escape, session.advice)])

    def _list_cases(self) -> None:
        ids = [] if self.desk.session is None else self.desk.session.cases
        with QSignalBlocker(self.cases):
            self.cases.clear()
            for case_id in ids:
                self.cases.addItem(case_id, case_id)
            self.cases.setCurrentIndex(self.cases.findData(self.desk.case_id))
        for widget in (self.cases, self.cases_label):
            widget.setVisible(len(ids) > 1)

    def _on_layers(self, event: object = None) -> None:
        self._list_images()
        self.refresh()

    def _list_images(self) -> None:
        """List the image layers that can be an examination; the newest is chosen."""
        known = {self.images.itemData(index) for index in range(self.images.count())}
        chosen = self.images.currentData()
        self.images.clear()
        for layer in self._viewer.layers:
            if layers.can_be_case(layer):
                self.images.addItem(layer.name, id(layer))
                chosen = chosen if id(layer) in known else id(layer)
        self.images.setCurrentIndex(max(self.images.findData(chosen), 0))

    def _chosen(self) -> Layer | None:
        chosen = self.images.currentData()
        return next((layer for layer in self._viewer.layers if id(layer) == chosen), None)

    def _use(self) -> None:
        layer = self._chosen()
        if layer is None:
            raise InputError("That image is no longer open. Choose another one.")
        earlier = layer.metadata.get("breastseg_session")
        if self.desk.session is None and earlier is not None and (Path(earlier) / DATABASE).exists():
            self.desk.open_session(Path(earlier), layer.metadata.get("breastseg_case_id"))
            return
        case = layers.case_of(layer)
        layers.claim(layer, case)
        self.desk.use_case(case, self._place(), self._linked(layer.metadata.get(PATH)))

    def _linked(self, path: str | None) -> Path | None:
        return Path(path) if path is not None and self.link.isChecked() and self.link.isEnabled() else None

    def _place(self) -> Path:
        return self._folder or sessions_folder() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open an examination", "", f"Examinations ({PATTERNS})")
        self._read(name)

    def _ask_folder(self) -> None:
        self._read(QFileDialog.getExistingDirectory(self, "Folder of one examination, or of many"))

    def _read(self, name: str) -> None:
        if name:
            self.desk.jobs.start("case", "Reading the examination", partial(_reading, Path(name)), partial(self._take, Path(name)))

    def _take(self, path: Path, found: Case | Listing) -> None:
        """Take what was read into the session: one case, or all that a folder holds."""
        linked = self.link.isChecked()
        if isinstance(found, Listing):
            self.desk.use_cases(found.cases, self._place(), linked)
        else:
            self.desk.use_case(found, self._place(), path if linked else None)

    def _ask_session(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open session", str(sessions_folder()))
        if folder:
            self.desk.open_session(Path(folder))

    def _ask_place(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Empty folder for the new session", str(sessions_folder().parent))
        if folder:
            self._folder = Path(folder)
            self.refresh()

    def _continue(self) -> None:
        latest = _latest_session()
        if latest is not None:
            self.desk.open_session(latest)


def _extent(case: Case) -> str:
    """Say how large a case is, in voxels and, where it is known, in mm."""
    skipped = 1 if case.flat else 0
    size = " × ".join(str(n) for n in case.shape[skipped:])
    spacing = " × ".join(f"{s:.2g}" for s in case.geometry.spacing[skipped:])
    if case.flat:
        return f"{size} pixels" + (f" of {spacing} mm" if case.geometry.unit == "mm" else ", scale unknown")
    return f"{case.phases} phase{'s' if case.phases > 1 else ''}, {size} voxels of {spacing} mm"


def _reading(path: Path) -> Job[Case | Listing]:
    yield Progress(0, 1, f"Reading {path.name}")
    return list_cases(path) if is_cohort(path) else read_case(path)


def _latest_session() -> Path | None:
    found = list(sessions_folder().glob(f"*/{DATABASE}"))
    return max(found, key=lambda file: file.stat().st_mtime).parent if found else None


def _combo(tooltip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return combo


def _left_behind(case: Case) -> str:
    """Name what was not taken over from the files; "extension DICOM" of a file's header is called "DICOM extension"."""
    dropped = case.metadata.get("identifiers_dropped")
    if not isinstance(dropped, (list, tuple)) or not dropped:
        return ""
    names = [f"{name.removeprefix('extension ')} extension" if name.startswith("extension ") else name for name in map(str, dropped)]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"Left behind: {', '.join(name[:40] for name in names[:MOST_NAMES])}{more}"


def _say(label: QLabel, sentence: str) -> None:
    label.setText(sentence)
    label.setVisible(bool(sentence))


def _breakable(path: Path) -> str:
    """Shorten the home folder to ~ and let a long path wrap at its separators."""
    shown = Path("~") / path.relative_to(Path.home()) if path.is_relative_to(Path.home()) else path
    return escape(str(shown).replace(os.sep, f"{os.sep}\u200b"))
