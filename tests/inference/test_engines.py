"""OpenVINO beside torch: the same numbers at any size, and torch wherever something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from napari_breastseg.errors import ComputeError
from napari_breastseg.inference import engines
from napari_breastseg.inference.runner import Runner
from napari_breastseg.methods.model import load_model
from napari_breastseg.networks.hcma_unet import HCMAUNet

openvino = pytest.importorskip("openvino", reason="OpenVINO is optional")


@pytest.fixture(autouse=True)
def choose_freely() -> Iterator[None]:
    yield
    engines.force_engine(None)


def test_numbers_are_those_of_torch_at_any_size() -> None:
    torch.manual_seed(0)
    network = HCMAUNet(in_channels=2).eval()
    compiled = engines.openvino_network(network, 2, "test of sizes")
    assert isinstance(compiled, engines.OpenVINONetwork), compiled
    for size in ((16, 24, 32), (33, 17, 40)):
        x = torch.randn(1, 2, *size)
        with torch.inference_mode():
            torch.testing.assert_close(compiled(x), network(x), rtol=1e-3, atol=1e-3)


def test_giving_memory_back_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = HCMAUNet().eval(), torch.randn(1, 1, 24, 24, 24)
    compiled = engines.openvino_network(network, 1, "test of giving back")
    assert isinstance(compiled, engines.OpenVINONetwork)
    with torch.inference_mode():
        before = compiled(x)
        monkeypatch.setattr(engines, "LARGE", 1)
        assert torch.equal(compiled(x), before)
        assert torch.equal(compiled(x), before)


def test_an_answer_outlives_the_next_call() -> None:
    network = HCMAUNet().eval()
    compiled = engines.openvino_network(network, 1, "test of memory")
    assert isinstance(compiled, engines.OpenVINONetwork)
    with torch.inference_mode():
        first = compiled(torch.randn(1, 1, 16, 16, 16))
        kept = first.clone()
        compiled(torch.randn(1, 1, 16, 16, 16))
    assert torch.equal(first, kept)


def test_weights_that_openvino_gets_wrong_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "TOLERANCE", -1.0)
    reason = engines.openvino_network(HCMAUNet().eval(), 1, "test of tolerance")
    assert isinstance(reason, str) and "other numbers" in reason


def test_a_network_that_cannot_be_compiled_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise RuntimeError("no such operator\nand many lines more")

    monkeypatch.setattr(openvino, "compile_model", refuse)
    reason = engines.openvino_network(HCMAUNet().eval(), 1, "test of refusal")
    assert reason == "OpenVINO could not compile the model (no such operator)"


def test_a_broken_openvino_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino.frontend.pytorch.ts_decoder", None)
    reason = engines.openvino_network(HCMAUNet().eval(), 1, "test of a broken installation")
    assert isinstance(reason, str) and reason.startswith("OpenVINO could not compile the model (") and "ts_decoder" in reason

    def nameless(name: str) -> str:
        raise engines.PackageNotFoundError(name)

    monkeypatch.setattr(engines, "version", nameless)
    assert engines.openvino_state().startswith("ready (of unknown version)")
    assert engines.first_line(RuntimeError("")) == "RuntimeError"


def test_a_network_is_compiled_when_it_is_needed_and_the_last_two_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []
    monkeypatch.setattr(engines, "_compiled", {})
    monkeypatch.setattr(engines, "_checked", lambda *_: compiled.append(0) or "not compiled in this test")
    runner = Runner(load_model("hcma-unet"), "cpu")
    runner.features(torch.randn(2, 16, 16, 16).numpy())
    assert not compiled  # features come from torch
    assert runner.engine_name == "torch" and len(compiled) == 1
    network = HCMAUNet().eval()
    for key, total in (("a", 2), ("b", 3), ("a", 3), ("c", 4), ("a", 4), ("b", 5)):
        engines.openvino_network(network, 1, key)
        assert len(compiled) == total


def test_threads_may_share_compiled_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LARGE", 1)
    network, x = HCMAUNet().eval(), torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        expected = network(x)

    def work(_: int) -> torch.Tensor:
        own = engines.openvino_network(network, 1, "test of threads")
        assert isinstance(own, engines.OpenVINONetwork)
        with torch.inference_mode():
            return own(x)

    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(work, range(9)):
            torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


def test_the_runner_goes_on_in_torch_when_openvino_fails() -> None:
    model = load_model("hcma-unet")
    runner, plain = Runner(model, "cpu"), Runner(model, "cpu")
    assert runner.engine_name == "openvino"
    assert isinstance(runner.engine, engines.OpenVINONetwork)
    sample = torch.randn(1, 2, 16, 16, 16).numpy()
    expected = plain.probability(sample)

    def fail(*_: object) -> object:
        raise RuntimeError("the device is lost")

    runner.engine.parts = [fail] * 5  # type: ignore[assignment]
    assert abs(runner.probability(sample) - expected).max() < 1e-3
    assert runner.engine_name == "torch"
    assert "the device is lost" in runner.steps[0]


def test_an_engine_can_be_forced_and_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engines.force_engine("torch")
    assert Runner(load_model("hcma-unet"), "cpu").engine_name == "torch"
    engines.force_engine("openvino")
    monkeypatch.setattr(engines, "TOLERANCE", -1.0)
    with pytest.raises(ComputeError, match="asked for, but OpenVINO gave other numbers"):
        engines.openvino_network(HCMAUNet().eval(), 1, "test of force")
    with pytest.raises(ComputeError, match="torch or openvino"):
        engines.force_engine("abacus")


def test_without_openvino_the_reason_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    reason = engines.openvino_network(HCMAUNet().eval(), 1, "test of absence")
    assert isinstance(reason, str) and "pip install" in reason
    with pytest.raises(ComputeError, match="pip install"):
        engines.force_engine("openvino")
