"""Memory: stated beforehand, stepped down when it runs out, refused in words when nothing helps; cases larger than it are read in parts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from torch import Tensor

from napari_breastseg.case import Case, Geometry
from napari_breastseg.errors import ComputeError, InputError
from napari_breastseg.inference import Preview, memory, predict, runner
from napari_breastseg.inference.grids import make_plan
from napari_breastseg.inference.memory import bytes_for_arrays, bytes_for_windows, free_memory, in_words
from napari_breastseg.inference.runner import Runner
from napari_breastseg.methods import get_preset
from napari_breastseg.methods.model import Model
from napari_breastseg.networks.segmentation import SegmentationNetwork
from napari_breastseg.phantom import make_phantom
from napari_breastseg.preprocess import resample
from napari_breastseg.progress import run

PREDICT = sys.modules["napari_breastseg.inference.predict"]
"""The module, whose name the function has taken."""
Read = Callable[[Case], npt.NDArray[np.float32]]


class Pointwise(SegmentationNetwork):
    """Sees one voxel, and runs out of memory on more than `most` voxels at once."""

    decoding = ()

    def __init__(self, most: int = 10**9, says: str = "DefaultCPUAllocator: can't allocate memory") -> None:
        super().__init__()
        self.most, self.says = most, says
        self.seen: list[tuple[int, ...]] = []

    def encode(self, x: Tensor) -> list[Tensor]:
        return [x]

    def decode(self, encoded: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        (x,) = encoded
        if x[:, 0].numel() > self.most:
            raise RuntimeError(self.says)
        self.seen.append(tuple(x.shape))
        return torch.stack([-2 * x[:, 1], 2 * x[:, 1]], 1)

    def features(self, encoded: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        return encoded[0], self.decode(encoded, size)


Stand = Callable[[SegmentationNetwork], Model]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    def use(network: SegmentationNetwork) -> Model:
        monkeypatch.setattr(Model, "network", lambda self, device="cpu": network)
        return Model(get_preset("hcma-unet/practical"), {}, {"preset": "hcma-unet/practical"}, "0" * 64, Path("none"))

    return use


@pytest.fixture
def case() -> Case:
    """Noise on the working grid, four windows."""
    images = np.random.default_rng(1).normal(200, 40, (2, 60, 200, 180)).astype(np.float32)
    return Case("noise", images, Geometry((1.5, 1.5, 1.5), np.diag([-1.5, -1.5, 1.5, 1]), (180, 200, 60)))


@pytest.mark.parametrize("says", ["DefaultCPUAllocator: can't allocate memory", "could not create a primitive", "std::bad_alloc"])
@pytest.mark.parametrize(
    ("most", "steps"),
    [(10**7, 0), (60 * 115 * 103 * 3, 1), (60 * 115 * 103, 2), (50**3, 3), (40**3, 4)],
    ids=["all fits", "two at a time", "one at a time", "48 voxels", "32 voxels"],
)
def test_each_rung_gives_the_same_answer(case: Case, stand_in: Stand, read_whole: Read, most: int, steps: int, says: str) -> None:
    prediction = run(predict(case, stand_in(Pointwise(most, says)), device="cpu", region="full", batch=4))
    assert len(prediction.details["memory_steps"]) == steps
    np.testing.assert_allclose(prediction.probability, 1 / (1 + np.exp(-4 * read_whole(case)[1])), atol=1e-5)


def test_no_rung_left_is_said_in_words(case: Case, stand_in: Stand) -> None:
    with pytest.raises(ComputeError, match="too little memory"):
        run(predict(case, stand_in(Pointwise(1000)), device="cpu", region="full"))


def test_other_failures_are_not_taken_for_a_lack_of_memory(case: Case, stand_in: Stand) -> None:
    with pytest.raises(RuntimeError, match="no such operator"):
        run(predict(case, stand_in(Pointwise(1000, "no such operator")), device="cpu", region="full"))


def test_a_gpu_gives_up_batch_size_precision_and_at_last_itself(stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    used = Runner(stand_in(Pointwise()), "cpu", batch=4)
    used.device = torch.device("meta")  # stands for a GPU
    monkeypatch.setattr(runner, "half_precision", lambda device: torch.float16 if device.type == "meta" else None)
    monkeypatch.setattr(used, "_holds", lambda half: True)
    seen = []
    while used.device.type != "cpu":
        seen.append((used.batch, used.edge, used.precision))
        assert used.step_down()
    single, half = torch.float32, torch.float16
    assert seen == [(4, None, single), (2, None, single), (1, None, single), (1, 48, single), (1, 32, single), (1, 32, half)]
    assert (used.batch, used.edge, used.precision) == (1, None, single)
    assert "CPU is used" in used.steps[-1]


def test_features_are_never_cut_up_but_computed_on_the_cpu(stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    used = Runner(stand_in(Pointwise()), "cpu", batch=4)
    used.device = torch.device("meta")
    devices = []

    def features(channels: npt.NDArray[np.float32]) -> Tensor:
        devices.append(used.device.type)
        if used.device.type == "meta":
            raise torch.OutOfMemoryError("too large")
        return torch.zeros(1)

    monkeypatch.setattr(used, "_features", features)
    used.features(np.zeros((2, 4, 4, 4), np.float32))
    assert devices == ["meta", "cpu"] and used.edge is None


def test_what_is_free_decides_where_to_begin(case: Case, stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Pointwise()
    model = stand_in(network)
    plan = make_plan(case, model.preset, "full")
    enough = bytes_for_arrays(plan) + bytes_for_windows(plan, 48, 1)
    monkeypatch.setattr(PREDICT, "free_memory", lambda device: enough)
    told = []
    prediction = run(predict(case, model, device="cpu", region="full"), lambda progress: told.append(progress.message))
    assert any(f"{in_words(enough)} of memory needed, {in_words(enough)} free" in message for message in told)
    assert prediction.details["memory_needed"] == enough and "48 voxels" in prediction.details["memory_steps"][0]
    assert max(max(shape[2:]) for shape in network.seen) == 48
    network.seen.clear()
    monkeypatch.setattr(PREDICT, "free_memory", lambda device: enough // 4)
    with pytest.raises(ComputeError, match=r"noise needs about \d+ MB of memory and \d+ MB are free\. Close other programs"):
        run(predict(case, model, device="cpu", region="full"))
    assert not network.seen


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 3 bytes.")]
)
def test_memory_that_runs_out_beside_the_network_is_said_in_words(
    case: Case, stand_in: Stand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(PREDICT, "_keep", fail)
    with pytest.raises(ComputeError, match="Memory ran out while noise was predicted"):
        run(predict(case, stand_in(Pointwise()), device="cpu"))


@pytest.mark.parametrize(
    ("line", "folder", "limit", "taken", "cache"),
    [
        ("0::/jobs/7", "jobs/7", "memory.max", "memory.current", "inactive_file"),
        ("0::/jobs/7/step", "jobs/7", "memory.max", "memory.current", "inactive_file"),  # of the group above
        ("4:cpu,memory:/slurm/7", "memory/slurm/7", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_limit_on_the_group_counts_but_not_the_files_that_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, limit: str, taken: str, cache: str
) -> None:
    (tmp_path / "own").write_text(f"9:pids:/\n{line}\n")
    group = tmp_path / "cgroup" / folder
    group.mkdir(parents=True)
    (group / limit).write_text("5000000\n")
    (group / taken).write_text("4000000\n")
    (group / "memory.stat").write_text(f"anon 1000000\n{cache} 3000000\n")
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    assert free_memory(torch.device("cpu")) == 4_000_000
    (group / limit).write_text("max\n")
    assert free_memory(torch.device("cpu")) > 10**8


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_limit_on_the_process_counts() -> None:
    script = """
import resource, psutil, torch
from napari_breastseg.inference.memory import free_memory
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 10**8,) * 2)
print(free_memory(torch.device("cpu")))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 0 < int(found) <= 10**8


LIMITED = """
import resource, sys
import psutil
from napari_breastseg.errors import BreastSegError
from napari_breastseg.inference import predict
from napari_breastseg.methods.model import load_model
from napari_breastseg.phantom import make_phantom
from napari_breastseg.progress import run

case, model = make_phantom(300, (96, 160, 160), phases=2, lesions=1).case, load_model("hcma-unet")
run(predict(make_phantom(3, (32, 32, 32), phases=2).case, model, device="cpu"))  # threads are started, engines compiled
if sys.argv[2] == "unforeseen":
    sys.modules["napari_breastseg.inference.predict"].free_memory = lambda device: 10**12
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + int(sys.argv[1]) * 10**6,) * 2)
try:
    print("result", int(run(predict(case, model, device="cpu")).refined.sum()))
except BreastSegError as error:
    print("refused", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    ("megabytes", "how", "answers"),
    [
        (5, "foreseen", ["refused"]),
        (40, "unforeseen", ["refused", "result"]),
        (250, "foreseen", ["result"]),
        (400, "unforeseen", ["result"]),
    ],
)
def test_under_a_real_limit_there_is_a_result_or_a_refusal(megabytes: int, how: str, answers: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(megabytes), how], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.split()[0] in answers


def test_closing_does_not_wait_for_the_window(case: Case, stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(self: Runner, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if windows.shape[2] > 40:  # a refined one
            time.sleep(3)
        return np.zeros((len(windows), *windows.shape[2:]), np.float32)

    monkeypatch.setattr(Runner, "probability", slowly)
    job = predict(case, stand_in(Pointwise()), device="cpu", region="full")
    silences = []
    while True:
        began = time.perf_counter()
        progress = next(job)
        silences.append(time.perf_counter() - began)
        if "Refining" in progress.message:
            break
    began = time.perf_counter()
    job.close()
    assert time.perf_counter() - began < 0.5
    assert max(silences) < 1


class Watched:
    """Images that remember how much of them was read at a time."""

    def __init__(self, images: npt.NDArray[np.float32]) -> None:
        self._images, self.shape, self.dtype = images, images.shape, images.dtype
        self.most = 0

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        part = self._images[key]
        self.most = max(self.most, part.size)
        return part


def test_closing_does_not_wait_for_slow_images_either(case: Case, stand_in: Stand) -> None:
    class Slow(Watched):
        def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
            time.sleep(1.5)
            return super().__getitem__(key)

    job = predict(Case("slow", Slow(case.images), case.geometry), stand_in(Pointwise()), device="cpu")
    next(job)
    began = time.perf_counter()
    next(job)
    job.close()
    assert time.perf_counter() - began < 1


def test_the_next_prediction_begins_after_the_window_that_was_given_up(
    case: Case, stand_in: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most = [], []

    def slowly(self: Runner, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.5)
        at_work.pop()
        return np.zeros((len(windows), *windows.shape[2:]), np.float32)

    monkeypatch.setattr(Runner, "probability", slowly)
    model = stand_in(Pointwise())
    job = predict(case, model, device="cpu")
    while not at_work:
        next(job)
    job.close()
    run(predict(case, model, device="cpu"))
    assert max(most) == 1


@pytest.mark.parametrize("wrong", [{"overlap": 1.0}, {"overlap": -0.1}, {"batch": 0}])
def test_impossible_numbers_are_refused(case: Case, stand_in: Stand, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Correct these numbers"):
        run(predict(case, stand_in(Pointwise()), **wrong))


def test_a_process_of_lower_priority_and_a_forked_one_predict_as_well() -> None:
    script = """
import multiprocessing, os
from napari_breastseg.inference.background import patiently
from napari_breastseg.progress import run

def ask(answers):
    job = patiently(lambda: os.getpriority(os.PRIO_PROCESS, 0), None)
    try:
        while True:
            next(job)
    except StopIteration as stop:
        answers.put(stop.value)

os.nice(15)
answers = multiprocessing.SimpleQueue()
ask(answers)
child = multiprocessing.get_context("fork").Process(target=ask, args=(answers,))
child.start()
child.join(20)
print(child.exitcode, answers.get(), answers.get())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "15", "15"]


def test_of_a_lazy_case_a_slab_is_in_memory_at_a_time(case: Case, stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resample, "SLAB", 5 * 200 * 180)
    expected = run(predict(case, stand_in(Pointwise()), device="cpu"))
    images = Watched(case.images)
    found = run(predict(Case("lazy", images, case.geometry), stand_in(Pointwise()), device="cpu"))
    assert images.most == 5 * 200 * 180
    np.testing.assert_array_equal(found.probability, expected.probability)


@pytest.mark.parametrize("kind", ["zarr", "dask"])
def test_zarr_and_dask_give_what_memory_gives(tmp_path: Path, stand_in: Stand, kind: str) -> None:
    case = make_phantom(11, (48, 80, 80), phases=2, lesions=1, diameter=20.0).case
    stored = zarr.create_array(tmp_path / "images.zarr", data=case.images, chunks=(1, 16, 32, 80))
    images = stored if kind == "zarr" else dask.array.from_zarr(stored)
    expected = run(predict(case, stand_in(Pointwise()), device="cpu"))
    seen: list[Preview] = []
    found = run(
        predict(Case("lazy", images, case.geometry), stand_in(Pointwise()), device="cpu"),
        lambda progress: seen.append(progress.payload) if isinstance(progress.payload, Preview) else None,
    )
    assert [preview.kind for preview in seen][0] == "coarse"
    np.testing.assert_array_equal(found.probability, expected.probability)
    np.testing.assert_array_equal(found.coarse, expected.coarse)
