"""`harness plan`: counted, estimated, and honest about which."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from harness.report.forecast import power_lines
from harness.runner.forecast import forecast, matrix_speed, parameter_count
from harness.runner.prepare import Prepared, prepare
from harness.store.history import PastTrial

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(ROOT / "experiments" / "quickstart.toml")


def test_what_a_plan_says_without_and_with_earlier_trials(prepared: Prepared) -> None:
    rough = forecast(prepared, [])
    assert rough.time_basis == "rough" and rough.parameters == 134_515_008
    arms = {arm.arm: arm for arm in rough.arms}
    zero, lora, both = arms["zero-shot"], arms["lora"], arms["rag+lora"]
    assert zero.train_tokens == 0 and zero.cost.one_off_usd == 0 and zero.trials == 1
    assert zero.tokens_out == 24 and lora.tokens_out is not None and lora.tokens_out < 24
    assert both.tokens_in is not None and zero.tokens_in is not None and both.tokens_in > 2 * zero.tokens_in
    assert both.cost.one_off_usd is not None and lora.cost.one_off_usd is not None
    assert both.cost.one_off_usd > lora.cost.one_off_usd > 0 and lora.memory_basis == "at least"
    assert rough.detectable is not None and rough.items_needed is not None and rough.items_needed > rough.items

    past = [PastTrial(("lora",), 100, 5000.0, 400.0, 10.0, 100.0, 20_000.0, 2e9)]
    known = forecast(prepared, past)
    assert known.time_basis == "earlier trials"
    lora = next(arm for arm in known.arms if arm.arm == "lora")
    assert lora.memory_bytes == 2e9 and lora.memory_basis == "earlier trials"
    assert lora.train_tokens is not None and lora.train_s == pytest.approx(lora.train_tokens / 20_000 * 100)
    assert lora.predict_s == pytest.approx((lora.tokens_in + lora.tokens_out) * 100 / 5400 * 10)  # type: ignore[operator]


def test_more_groups_or_arms_take_more_items(prepared: Prepared) -> None:
    found = forecast(prepared, [])
    assert found.groups is not None
    assert any("groups" in line for line in power_lines(found))
    assert any("unknown" in line for line in power_lines(replace(found, detectable=None)))
    assert "which it has" in power_lines(replace(found, items_needed=3))[-1]


def test_parameters_are_read_from_headers(tmp_path: Path) -> None:
    header = b'{"__metadata__":{},"a":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]}}'
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert parameter_count(tmp_path) == 12
    assert parameter_count(tmp_path / "none") is None


def test_this_machine_has_a_speed() -> None:
    assert matrix_speed("cpu", "float32", 0.001) > 0
