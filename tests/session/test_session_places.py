"""Where a session lies: on a network drive it keeps a journal that works there, and the person is told."""

from __future__ import annotations

import logging
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_breastseg.evaluation.session_trials.material import random_edit
from napari_breastseg.session import Session
from napari_breastseg.session.disk.places import on_network

from .helpers import make_case

Disk = namedtuple("Disk", "mountpoint fstype opts")


def mounted(monkeypatch: pytest.MonkeyPatch, *disks: Disk) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Disk("/", "ext4", "rw"), *disks])


def test_the_nearest_mount_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch)
    assert not on_network(tmp_path)
    mounted(monkeypatch, Disk(str(tmp_path), "nfs4", "rw"))
    assert on_network(tmp_path) and on_network(tmp_path / "not" / "yet") and not on_network(tmp_path.parent)
    mounted(monkeypatch, Disk(str(tmp_path), "nfs4", "rw"), Disk(str(tmp_path / "local"), "ext4", "rw"))
    assert not on_network(tmp_path / "local" / "x")
    mounted(monkeypatch, Disk(str(tmp_path), "NTFS", "rw,remote"))
    assert on_network(tmp_path)


def test_on_a_network_drive_there_is_no_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "session"
    mounted(monkeypatch, Disk(str(tmp_path), "cifs", "rw"))
    with Session.create(folder) as session:
        case_id = session.add_case(make_case())
        session.record(case_id, random_edit(np.random.default_rng(0), 0))
        expected = session.annotation(case_id)
        assert not (folder / "session.sqlite-wal").exists()
    with caplog.at_level(logging.WARNING), Session.open(folder) as session:
        assert "network folder" in caplog.text and "network folder" in session.advice[0]
        np.testing.assert_array_equal(session.annotation(case_id), expected)
        assert session.verify() == []
    mounted(monkeypatch)
    with Session.open(folder) as session:
        session.record(case_id, random_edit(np.random.default_rng(1), 1))
        assert (folder / "session.sqlite-wal").exists() and session.advice == ()


def test_a_synchronised_folder_is_advised_against(tmp_path: Path) -> None:
    with Session.create(tmp_path / "Dropbox (work)" / "session") as session:
        assert "dropbox" in session.advice[0]
