"""Processor seconds, energy, operations: measured where it can be, marked where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.runner.meter import WATTS_PER_CORE, Meter, Spent, unknown


def busy() -> None:
    sum(i * i for i in range(300_000))


def test_without_counters_energy_is_estimated_from_processor_time(tmp_path: Path) -> None:
    meter = Meter(rapl=tmp_path)
    busy()
    spent = meter.spent()
    assert spent.cpu_s > 0 and spent.gpu_s == 0 and spent.energy_basis == "estimated"
    assert spent.energy_j == pytest.approx(spent.cpu_s * WATTS_PER_CORE)


def package(folder: Path, number: int, microjoules: int) -> Path:
    counter = folder / f"intel-rapl:{number}" / "energy_uj"
    counter.parent.mkdir(exist_ok=True)
    counter.write_text(f"{microjoules}\n", encoding="ascii")
    (counter.parent / "max_energy_range_uj").write_text("10000000\n", encoding="ascii")
    return counter


def test_counters_are_added_and_may_run_over(tmp_path: Path) -> None:
    one, two = package(tmp_path, 0, 1_000_000), package(tmp_path, 1, 9_000_000)
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("5", encoding="ascii")  # a part of package 0
    meter = Meter(rapl=tmp_path)
    one.write_text("3000000", encoding="ascii")
    two.write_text("1000000", encoding="ascii")  # past its end: 9 -> 10 -> 1
    spent = meter.spent()
    assert spent.energy_j == pytest.approx(2 + 2) and spent.energy_basis == "measured"


def test_a_counter_that_may_not_be_read_is_an_estimate(tmp_path: Path) -> None:
    package(tmp_path, 0, 5).write_text("secret", encoding="ascii")
    assert Meter(rapl=tmp_path).spent().energy_basis == "estimated"


def test_sums_are_only_as_good_as_their_parts() -> None:
    measured, estimated, dark = Spent(1, 0, 5.0), Spent(2, 1, 3.0, "estimated"), Spent(1, 0, None, "unknown")
    assert measured + measured == Spent(2, 0, 10.0)
    assert measured + estimated == Spent(3, 1, 8.0, "estimated")
    assert (estimated + dark).energy_j is None and (estimated + dark).energy_basis == "unknown"
    rows = {entry.quantity: entry for entry in (measured + dark).entries("train")}
    assert rows["energy_j"].value is None and rows["energy_j"].basis == "unknown" and rows["cpu_s"].value == 2
    assert all(entry.value is None and entry.basis == "unknown" for entry in unknown("predict"))


# ------------------------------------------------------------------------------------------------------ operations


def parameters(config: object) -> int:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return int(sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters()))


def test_operations_are_2n_and_6n_per_token() -> None:
    from transformers import LlamaConfig

    from harness.models.flops import flops_per_token

    config = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    count, length = parameters(config), 64
    forward, frozen, whole = (flops_per_token(config, length, kind) for kind in ("forward", "inputs", "weights"))
    assert forward is not None and frozen is not None and whole is not None
    attention = 4 * config.num_hidden_layers * config.hidden_size * length  # scores and weighted values, per token
    assert forward == pytest.approx(2 * count + attention, rel=0.02)
    assert whole == pytest.approx(6 * count + 3 * attention, rel=0.02)
    assert frozen == pytest.approx(4 * count + 3 * attention, rel=0.05)
    longer = flops_per_token(config, 256)
    assert longer is not None and longer > forward
    assert flops_per_token(config, 33) == forward  # once per shape


def test_ledger_rows_of_operations() -> None:
    from transformers import LlamaConfig

    from harness.models.flops import flops_per_token, predict_entry, train_entry

    config = LlamaConfig(vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=2)  # fmt: skip
    each = flops_per_token(config, 60)
    row = predict_entry(config, 500, 100, 10)
    assert each is not None and row.value == pytest.approx(600 * each) and row.basis == "estimated"
    lora, full = train_entry(config, 1000, 20, "peft"), train_entry(config, 1000, 20, "weights")
    assert lora.value is not None and full.value is not None and 0 < lora.value < full.value
    strange = predict_entry(object(), 1, 1, 1)
    assert strange.value is None and strange.basis == "unknown"
