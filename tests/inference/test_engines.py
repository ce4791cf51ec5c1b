"""OpenVINO beside torch: the same numbers at any size, and torch wherever something is wrong."""

from __future__ import annotations

from collections.abc import Iterator

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


def test_the_runner_goes_on_in_torch_when_openvino_fails() -> None:
    model = load_model("hcma-unet")
    runner, plain = Runner(model, "cpu"), Runner(model, "cpu")
    assert runner.engine_name == "openvino"
    assert isinstance(runner.engine, engines.OpenVINONetwork)
    sample = torch.randn(2, 16, 16, 16).numpy()
    expected = plain.probability(sample)

    def fail(*_: object) -> object:
        raise RuntimeError("the device is lost")

    runner.engine.parts = [fail] * 5  # type: ignore[assignment]
    assert abs(runner.probability(sample) - expected).max() < 1e-3
    assert runner.engine_name == "torch"
    assert "the device is lost" in runner.steps[0]


def test_an_engine_can_be_forced_and_an_unknown_one_is_refused() -> None:
    engines.force_engine("torch")
    assert Runner(load_model("hcma-unet"), "cpu").engine_name == "torch"
    with pytest.raises(ComputeError, match="torch or openvino"):
        engines.force_engine("abacus")


def test_without_openvino_the_reason_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    reason = engines.openvino_network(HCMAUNet().eval(), 1, "test of absence")
    assert isinstance(reason, str) and "pip install" in reason
    with pytest.raises(ComputeError, match="pip install"):
        engines.force_engine("openvino")
