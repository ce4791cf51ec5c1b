from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_breastseg.compute import here
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.progress import Progress, run


def test_it_runs_in_this_process_and_is_heard() -> None:
    seen: list[Progress] = []
    pid, _ = run(here("child_targets:facts", {}), seen.append)
    assert pid == os.getpid()
    assert [progress.message for progress in seen] == ["looking"]


def test_its_errors_are_those_of_a_child() -> None:
    with pytest.raises(InputError, match=r"^The mask is empty\. Paint first\.$"):
        run(here("child_targets:refuse", {}))
    with pytest.raises(ComputeError, match="The learning process failed: ZeroDivisionError: a bug in the child"):
        run(here("child_targets:fail", {}, "learning"))
    with pytest.raises(ComputeError, match="not enough memory"):
        run(here("child_targets:hungry", {}))


def test_closing_closes_the_job(tmp_path: Path) -> None:
    job = here("cluster_targets:wait_and_tell", {"notes": str(tmp_path)})
    next(job)
    job.close()
    assert (tmp_path / "tidy").exists()
