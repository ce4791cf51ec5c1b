"""The benchmarks compare the same work, take turns, and report what they measured; how fast anything is, is not tested."""

from __future__ import annotations

import json

import pytest
import torch

from napari_breastseg.evaluation.benchmarks import forward as module
from napari_breastseg.evaluation.benchmarks.alone import alone, peak_memory
from napari_breastseg.evaluation.benchmarks.forward import OURS, PEER, benchmark_forward, computed_operations, forwards
from napari_breastseg.evaluation.benchmarks.image import ATTENTION, BASIC, benchmark_image
from napari_breastseg.evaluation.benchmarks.scan import benchmark_scan, loop_scan, scan_inputs
from napari_breastseg.evaluation.benchmarks.timing import side_by_side
from napari_breastseg.inference.engines import force_engine
from napari_breastseg.networks.macs import hcma_unet_macs
from napari_breastseg.networks.selective_scan import chosen_backend, cross_scan, force_backend
from napari_breastseg.progress import run


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_loop_computes_what_the_back_ends_compute(axis: int) -> None:
    size = (3, 4, 5)
    inputs = scan_inputs(60, 4, 7)
    torch.testing.assert_close(loop_scan(*inputs, size, axis), cross_scan(*inputs, size, axis), rtol=1e-4, atol=1e-4)


def test_tasks_take_turns_after_one_round_of_warming_up() -> None:
    calls: list[str] = []
    seconds = run(side_by_side({name: lambda name=name: calls.append(name) for name in "ab"}, 2))
    assert calls == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"} and all(value >= 0 for value in seconds.values())


def test_scan_rows_hold_their_own_ratios_and_no_back_end_stays_forced() -> None:
    answer = json.loads(json.dumps(run(benchmark_scan(length=16, states=7, channels=2, slices=1, repeats=1))))
    rows = {row["backend"]: row for row in answer["rows"]}
    assert set(rows) == {"loop", "blocked", "numba"}
    for row in rows.values():
        assert row["forward_times_faster"] == pytest.approx(rows["loop"]["forward_s"] / row["forward_s"])
        assert row["both_times_faster"] == pytest.approx(rows["loop"]["both_s"] / row["both_s"])
        assert row["forward_times_the_floor"] == pytest.approx(row["forward_s"] / answer["floor_s"])
    assert chosen_backend(torch.device("cpu"), torch.float32) == "numba"


def test_a_forced_back_end_and_engine_stay_forced() -> None:
    force_backend("blocked")
    force_engine("torch")
    try:
        run(benchmark_scan(length=16, states=7, channels=2, slices=1, repeats=1))
        assert force_backend(None) == "blocked"
        assert list(forwards(64)) == [f"{OURS}, torch", f"{PEER}, torch"]
    finally:
        force_backend(None)
        force_engine(None)


def test_memory_is_that_of_the_process_alone() -> None:
    held = torch.ones(2**28)  # 1 GiB here is none there
    used = alone("the network", module._measure_memory, f"{OURS}, torch", 16)
    assert held.sum() > 0 and 50 < used < 900 < peak_memory()


def test_fused_layers_are_counted_as_one() -> None:
    computed, published = computed_operations(32) / 2, sum(hcma_unet_macs(size=32).values())
    assert 0.8 < computed / published < 0.86


@pytest.mark.slow
def test_image_rows_hold_their_own_ratios() -> None:
    answer = json.loads(json.dumps(run(benchmark_image(size=64, repeats=1))))
    rows = {(row["network"], row["engine"]): row for row in answer["rows"]}
    assert rows["HA-Net", "torch"]["parameters"] == 15_427_713
    for (_, engine), row in rows.items():
        assert row["of_basic_unet"] == pytest.approx(row["seconds"] / rows[BASIC, engine]["seconds"])
        assert row["of_attention_unet"] == pytest.approx(row["seconds"] / rows[ATTENTION, engine]["seconds"])


@pytest.mark.slow
def test_forward_rows_hold_their_own_ratios() -> None:
    answer = json.loads(json.dumps(run(benchmark_forward(size=64, repeats=1))))
    rows = {row["network"]: row for row in answer["rows"]}
    assert {f"{OURS}, torch", f"{PEER}, torch"} <= set(rows)
    for row in rows.values():
        assert row["of_peer_in_torch"] == pytest.approx(row["seconds"] / rows[f"{PEER}, torch"]["seconds"])
        assert row["peak_memory_mib"] > 100
    assert rows[f"{OURS}, torch"]["times_the_floor"] > 1
