"""The scoring engine against the plain reference."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.exceptions import ModelError
from harness.models import engine_attention
from harness.models.batching import plan_batches
from harness.models.prefix_tree import Limits, PrefixTree
from harness.models.requests import ContinuationScore, ScoreRequest
from harness.models.scoring import probe, score
from harness.models.variant import Variant
from tests import reference_engine
from tests.engine_models import KINDS, WINDOW, variant

TOKEN = st.integers(0, 3)  # few tokens, so that sequences share much
SHARED = st.lists(TOKEN, max_size=45)


@st.composite
def request_lists(draw: st.DrawFn) -> list[ScoreRequest]:
    prefixes = [draw(SHARED), draw(SHARED)]
    requests = []
    for _ in range(draw(st.integers(1, 7))):
        context = draw(st.sampled_from(prefixes)) + draw(st.lists(TOKEN, max_size=12))
        answers = draw(st.lists(st.lists(TOKEN, max_size=5).map(tuple), max_size=5))
        requests.append(ScoreRequest(tuple(context), tuple(answers)))
    return requests


def agree(ours: list[list[ContinuationScore]], theirs: list[list[ContinuationScore]]) -> None:
    assert [len(scores) for scores in ours] == [len(scores) for scores in theirs]
    for mine, other in ((a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert (mine.greedy, mine.tokens, mine.truncated) == (other.greedy, other.tokens, other.truncated)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(requests=request_lists(), budget=st.sampled_from([1, 30, 200, 4000]), window=st.sampled_from([12, 40, WINDOW]))
def test_agrees_with_the_reference(kind: str, requests: list[ScoreRequest], budget: int, window: int) -> None:
    model = variant(kind)
    expected = reference_engine.score(model, requests, window)
    agree(score(model, requests, token_budget=budget, window=window), expected)


@settings(max_examples=10, deadline=None)
@given(requests=request_lists())
def test_the_plain_path_agrees_too(requests: list[ScoreRequest]) -> None:
    for kind in ("llama+root", "gpt2"):
        agree(score(variant(kind), requests, plain=True), reference_engine.score(variant(kind), requests, WINDOW))


@pytest.mark.parametrize("kind", ["llama", "llama+root"])
def test_the_path_of_other_devices_agrees(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without log-sum-exps from the kernel the prefix is joined under one mask."""
    requests = _random_requests(random.Random(4), 12)
    expected = score(variant(kind), requests)
    monkeypatch.setattr(engine_attention, "_has_lse", lambda query, value: False)
    agree(score(variant(kind), requests), expected)


def test_long_chains_take_the_causal_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.models.scoring._CAUSAL_FROM", 8)
    requests = _random_requests(random.Random(5), 8)
    agree(score(variant("llama+root"), requests), reference_engine.score(variant("llama+root"), requests, WINDOW))


def _random_requests(draw: random.Random, count: int) -> list[ScoreRequest]:
    shared = [draw.randrange(4) for _ in range(30)]

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(4) for _ in range(draw.randint(low, high)))

    return [
        ScoreRequest((*shared, *some(1, 20)), tuple(some(1, 5) for _ in range(draw.randint(1, 6))))
        for _ in range(count)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_trusts_models_it_can_run(kind: str) -> None:
    assert probe(variant(kind)) is None


def test_the_probe_refuses_what_tree_attention_does_not_compute() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

    sizes = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
    }
    sliding = Variant(MistralForCausalLM(MistralConfig(**sizes, sliding_window=8)).eval())
    assert "sliding_window" in (probe(sliding) or "")
    capped = Variant(Gemma2ForCausalLM(Gemma2Config(**sizes, sliding_window=8)).eval())
    assert "softcap" in (probe(capped) or "")
    request = [ScoreRequest((1, 2, 3), ((4, 5), (6,)))]
    for refused in (sliding, capped):
        agree(score(refused, request, plain=True), reference_engine.score(refused, request, 100))


def test_truncation_is_counted_per_continuation() -> None:
    request = ScoreRequest(tuple(range(4, 24)), ((4,), (4, 5, 6, 7, 8)))
    [[short, long]] = score(variant("llama"), [request], window=16)
    assert (short.truncated, long.truncated) == (4, 8)
    [[short, long]] = score(variant("llama+root"), [request], window=16)
    assert (short.truncated, long.truncated) == (7, 11)


def test_a_continuation_larger_than_the_window_is_refused() -> None:
    with pytest.raises(ModelError, match="does not fit the window"):
        score(variant("llama"), [ScoreRequest((1,), ((4,) * 17,))], window=16)
    with pytest.raises(ModelError, match="soft prompt"):
        score(variant("llama+root"), [ScoreRequest((), ((4,) * 62 + (5,),))])


def test_progress_counts_requests_and_ends_complete() -> None:
    seen: list[tuple[int, int]] = []
    requests = [*_random_requests(random.Random(1), 9), ScoreRequest((1,), ())]
    score(variant("llama"), requests, token_budget=60, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (10, 10)


def test_bfloat16_stays_near_float32() -> None:
    import copy

    exact = variant("llama")
    rough = Variant(copy.deepcopy(exact.model).to(torch.bfloat16))
    requests = _random_requests(random.Random(2), 6)
    for mine, other in zip(score(rough, requests), score(exact, requests), strict=True):
        for a, b in zip(mine, other, strict=True):
            assert a.logprob == pytest.approx(b.logprob, rel=0.2, abs=1.0)


def test_the_model_is_left_as_it_was() -> None:
    model = variant("llama").model
    before = model.config._attn_implementation
    model.train()
    try:
        score(variant("llama"), [ScoreRequest((1, 2), ((3,),))])
        assert model.training and model.config._attn_implementation == before
    finally:
        model.eval()


def test_a_shared_prefix_is_computed_once() -> None:
    shots, count = tuple(range(300)), 40
    sequences = [(*shots, 400 + item, 500 + item) for item in range(count)]
    tree = PrefixTree(sequences, [301] * count, [(1,)] * count, list(range(count)))
    groups = tree.plan(Limits(branch_tokens=20))
    assert [len(group.segment.tokens) for group in groups] == [0, 300]
    assert sum(len(row.tokens) for row in groups[1].rows) == 2 * count
    together = tree.plan(Limits(branch_tokens=100))
    assert [len(row.tokens) for group in together for row in group.rows] == [300 + 2 * count]


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(1, 120),
    st.integers(1, 8),
)
def test_batches_hold_every_index_once_within_the_budget(lengths: list[int], budget: int, rows: int) -> None:
    batches = plan_batches(lengths, budget, rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert batches == plan_batches(lengths, budget, rows)
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget
