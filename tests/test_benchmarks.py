"""Benchmarks through our engine against lm-eval's own Hugging Face backend, on the same items."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from benchmark_items import ITEMS, SUBJECTS, TEXT, arc_row, four_benchmarks, generated_data, jsonl, real_data, sentence

from harness.exceptions import ModelError, TrialError
from harness.types import Benchmark, BenchmarkResult
from harness_plugins.benchmarks.catalogue import Catalogue
from harness_plugins.benchmarks.lm_eval import LmEval

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return generated_data(tmp_path_factory.mktemp("items"))


# -------------------------------------------------------------------------------------------------- a small model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny random Llama and a byte-level tokenizer, saved and read back as any model folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=["<bos>", "<eos>"], initial_alphabet=alphabet)
    raw.train_from_iterator([TEXT] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_rng_state(state)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def recorder(lm: Any) -> Any:
    """The LM with every answer it gave kept, by request."""
    lm.answers = {}

    def kept(kind: str) -> Any:
        call = getattr(lm, kind)

        def answer(requests: Any, **quiet: bool) -> Any:
            found = call(requests, **quiet)
            lm.answers |= {(kind, str(request.args)): made for request, made in zip(requests, found, strict=True)}
            return found

        return answer

    for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(lm, kind, kept(kind))
    return lm


def ours(model: Any, tokenizer: Any, **settings: Any) -> Any:
    from harness.models.lm_eval_adapter import LmEvalAdapter
    from harness.models.variant import Variant

    root = settings.pop("root", None)
    return recorder(LmEvalAdapter(Variant(model, root), tokenizer, **settings))


def theirs(model: Any, tokenizer: Any, batch_size: int = 8) -> Any:
    from lm_eval.models.huggingface import HFLM

    return recorder(HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size))


def assert_equal(benchmark: LmEval, mine: Any, reference: Any) -> float:
    """Both give the same values per item and the same log-likelihoods; the largest difference of the latter."""
    left, right = list(benchmark.run(mine, 0, ".")), list(benchmark.run(reference, 0, "."))
    assert [(r.task, r.metric, r.n, r.shots) for r in left] == [(r.task, r.metric, r.n, r.shots) for r in right]
    assert mine.answers.keys() == reference.answers.keys()
    largest = 0.0
    for request, (logprob, greedy) in mine.answers.items():
        difference = abs(logprob - reference.answers[request][0])
        largest = max(largest, difference)
        assert difference < TOLERANCE, request
        assert greedy == reference.answers[request][1]
    for mine_result, their_result in zip(left, right, strict=True):
        assert mine_result.value == pytest.approx(their_result.value, abs=TOLERANCE)
        for item, other in zip(mine_result.items, their_result.items, strict=True):
            assert item.item_id == other.item_id
            # Decisions are equal; mc2 is a probability and may differ by rounding.
            assert item.value == pytest.approx(other.value, abs=TOLERANCE)
    return largest


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads only wait for each other in a model this small."""
    import torch

    threads = torch.get_num_threads()
    if request.node.get_closest_marker("slow") is None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---------------------------------------------------------------------------------------------------- equality


def test_generated_items_score_as_in_hflm(small: Any, made: dict[str, dict[str, str]]) -> None:
    assert_equal(four_benchmarks(made), ours(*small), theirs(*small))


def test_shots_that_differ_by_item_score_as_in_hflm(small: Any, made: dict[str, dict[str, str]]) -> None:
    benchmark = LmEval(LmEval.Config(tasks=[{"task": "arc_easy", "shots": 3}], data=made))
    mine = ours(*small)
    assert_equal(benchmark, mine, theirs(*small))
    assert all(request.count("Question:") == 4 for _, request in mine.answers)


def test_real_items_score_as_in_hflm(small: Any) -> None:
    assert_equal(four_benchmarks(real_data(), limit=4), ours(*small), theirs(*small))


@pytest.mark.slow
def test_two_hundred_real_items_of_each_benchmark_score_as_in_hflm() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.models.loading import bundled_model_folder

    folder = bundled_model_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tasks: list[Any] = ["arc_easy", "hellaswag", {"task": "mmlu_anatomy", "shots": 5, "limit": 100}]
    tasks += [{"task": "mmlu_astronomy", "shots": 5, "limit": 100}, "truthfulqa_mc1", "truthfulqa_mc2"]
    for task in tasks:
        benchmark = LmEval(LmEval.Config(tasks=[task], data=real_data(), limit=200))
        mine, reference = ours(model, tokenizer), theirs(model, tokenizer, batch_size=4)
        largest = assert_equal(benchmark, mine, reference)
        print(f"{task}: {len(mine.answers)} log-likelihoods, largest difference {largest:.1e}")


def test_local_files_give_the_numbers_of_simple_evaluate(
    small: Any, made: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our way into lm-eval (items in memory, `evaluate`) against its documented one (JSON files, `simple_evaluate`)."""
    import datasets
    import lm_eval.evaluator
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)  # runs pip
    leaves = {name: Catalogue().expand(name, ".")[0].path for name in ("arc_easy", "mmlu_anatomy", "hellaswag")}
    splits = {"arc_easy": made["arc_easy"], "hellaswag": made["hellaswag"]}
    splits["mmlu_anatomy"] = {split: path.replace("{subject}", "anatomy") for split, path in made["mmlu_*"].items()}
    for name, path in leaves.items():
        lines = [f"include: {path}", f"task: {name}", "dataset_path: json", "dataset_name: null"]
        lines += [f"dataset_kwargs: {json.dumps({'data_files': splits[name]})}"]
        lines += [] if "train" in splits[name] else ["training_split: null"]
        lines += ["validation_split: null"] if name == "arc_easy" else []
        (tmp_path / f"{name}.yaml").write_text("\n".join(lines), encoding="utf-8")
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    lm = theirs(*small)
    for name, shots in (("arc_easy", 2), ("mmlu_anatomy", 5), ("hellaswag", 0)):
        expected = lm_eval.evaluator.simple_evaluate(
            lm, tasks=[name], num_fewshot=shots, task_manager=manager, bootstrap_iters=0, limit=5
        )
        benchmark = LmEval(LmEval.Config(tasks=[name], shots=shots, limit=5, data=made))
        for result in benchmark.run(lm, 0, "."):
            assert result.value == expected["results"][name][f"{result.metric},none"]
            samples = expected["samples"][name]
            assert [item.value for item in result.items] == [float(sample[result.metric]) for sample in samples]


def test_a_soft_prompt_is_benchmarked_as_it_is(small: Any, made: dict[str, dict[str, str]]) -> None:
    import torch

    root = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    benchmark = four_benchmarks(made, limit=3)
    with_root, plain = ours(*small, root=root), ours(*small, root=root, plain=True)
    assert_equal(benchmark, with_root, plain)
    assert with_root.answers != ours(*small).answers
    assert with_root.tokens_in == plain.tokens_in > 0


def test_an_adapter_is_benchmarked_as_it_is(small: Any, made: dict[str, dict[str, str]]) -> None:
    import copy

    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    adapted = inject_adapter_in_model(settings, copy.deepcopy(small[0])).eval()
    benchmark = LmEval(LmEval.Config(tasks=["arc_easy", "truthfulqa_mc2"], limit=3, data=made))
    mine = ours(adapted, small[1])
    assert_equal(benchmark, mine, theirs(adapted, small[1]))
    base = ours(*small)
    list(benchmark.run(base, 0, "."))
    assert mine.answers != base.answers


def test_a_small_window_cuts_contexts_and_counts_them(small: Any, made: dict[str, dict[str, str]]) -> None:
    benchmark = LmEval(LmEval.Config(tasks=[{"task": "mmlu_anatomy", "shots": 5}], data=made))
    (result,) = benchmark.run(ours(*small, window=64), 0, ".")
    assert result.truncated == 4 * ITEMS
    (result,) = benchmark.run(ours(*small), 0, ".")
    assert result.truncated == 0


# ----------------------------------------------------------------------------------------- tokens, rolling, texts


class Request:
    def __init__(self, *args: Any) -> None:
        self.args = args


def test_pairs_are_tokenised_as_in_hflm(small: Any) -> None:
    from harness.models.lm_eval_adapter import LmEvalAdapter
    from harness.models.variant import Variant

    model, tokenizer = small
    adapter = LmEvalAdapter(Variant(model), tokenizer)
    texts = [
        ("the sun ", "grows"),
        ("the sun", " grows"),
        ("the sun\n\n", "a river"),
        ("", "water"),
        ("", " water"),
        ("", "<bos>water"),
        ("<bos>the", " sun"),
        ("über", " — naïve"),
    ]
    reference = theirs(model, tokenizer)
    for context, continuation in texts:
        if context:
            left, right = reference._encode_pair(context, continuation)
        else:
            right = reference.tok_encode(continuation, add_special_tokens=False)
            first = reference.prefix_token_id
            left, right = (right[:1], right[1:]) if right[0] == first else ([first], right)
        assert adapter._pairs([(context, continuation)]) == [(tuple(left), tuple(right))], (context, continuation)
    requests = [Request(*pair) for pair in texts]
    for mine, other in zip(adapter.loglikelihood(requests), reference.loglikelihood(requests), strict=True):
        assert mine[0] == pytest.approx(other[0], abs=TOLERANCE)
        assert mine[1] == other[1]


def test_an_empty_answer_is_refused(small: Any) -> None:
    with pytest.raises(ModelError, match="empty answer"):
        ours(*small).loglikelihood([Request("the sun", "")])


def test_rolling_likelihoods_are_those_of_hflm(small: Any) -> None:
    draw = random.Random(2)
    texts = [Request(sentence(draw, low, low + 3)) for low in (1, 5, 2800)]  # the last does not fit the window
    reference = theirs(*small)
    expected = reference.loglikelihood_rolling(texts, disable_tqdm=True)
    found = ours(*small).loglikelihood_rolling(texts)
    assert found == pytest.approx(expected, rel=1e-5, abs=TOLERANCE)
    assert ours(*small, plain=True).loglikelihood_rolling(texts) == pytest.approx(expected, rel=1e-5, abs=TOLERANCE)
    assert len(small[1](texts[2].args[0])["input_ids"]) > 1024


GENERATION = """\
task: small_generation
output_type: generate_until
test_split: test
doc_to_text: "{{question}}\\nAnswer:"
doc_to_target: answer
generation_kwargs:
  until: ["\\n\\n", "river"]
  max_gen_toks: 12
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


def generation_task(folder: Path, more: str = "") -> LmEval:
    draw = random.Random(5)
    rows = [{"question": sentence(draw, 5, 20), "answer": sentence(draw, 1, 2)} for _ in range(6)]
    jsonl(folder / "questions.jsonl", rows)
    (folder / "small.yaml").write_text(GENERATION + more, encoding="utf-8")
    data = {"small_generation": {"test": "questions.jsonl"}}
    return LmEval(LmEval.Config(tasks=["small.yaml"], data=data))


def test_texts_are_those_of_hflm(small: Any, tmp_path: Path) -> None:
    benchmark = generation_task(tmp_path)
    assert benchmark.check(str(tmp_path)) == []
    mine, reference = ours(*small), theirs(*small, batch_size=1)
    (result,) = benchmark.run(mine, 0, str(tmp_path))
    (expected,) = benchmark.run(reference, 0, str(tmp_path))
    assert result == expected
    assert (result.task, result.group, result.metric, result.n) == ("small_generation",) * 2 + ("exact_match", 6)
    texts = {request: text for (_, request), text in mine.answers.items()}
    assert texts == {request: text for (_, request), text in reference.answers.items()}
    assert any(texts.values())
    assert not any("river" in text for text in texts.values())
    assert 0 < mine.tokens_out <= 6 * 12


def test_generation_options_the_engine_lacks_are_refused(small: Any) -> None:
    lm = ours(*small)
    assert lm.generate_until([Request("the sun", {"until": ["\n"], "max_gen_toks": 2, "top_k": 5, "num_beams": 1})])
    with pytest.raises(ModelError, match="num_beams"):
        lm.generate_until([Request("the sun", {"until": ["\n"], "max_gen_toks": 2, "num_beams": 4})])
    with pytest.raises(ModelError, match="do not fit"):
        lm.generate_until([Request("the sun", {"until": ["\n"], "max_gen_toks": 4096})])


def test_sampled_texts_depend_on_the_seed_alone(small: Any) -> None:
    requests = [Request("the sun", {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0})] * 2
    first, again, other = (ours(*small, seed=seed).generate_until(requests) for seed in (0, 0, 1))
    assert first == again != other


# -------------------------------------------------------------------------------------------------------- running


def test_results_carry_what_a_paired_comparison_needs(small: Any, made: dict[str, dict[str, str]]) -> None:
    benchmark = LmEval(LmEval.Config(tasks=["arc_easy", "truthfulqa_mc2"], limit=3, data=made))
    assert isinstance(benchmark, Benchmark)
    results = list(benchmark.run(ours(*small), 0, "."))
    assert [(r.task, r.metric, r.primary) for r in results] == [
        ("arc_easy", "acc", True),
        ("arc_easy", "acc_norm", False),
        ("truthfulqa_mc2", "acc", True),
    ]
    for result in results:
        assert [item.item_id for item in result.items] == ["0", "1", "2"]
        assert (result.n, result.shots, result.mean, result.higher_is_better) == (3, 0, True, True)
        assert json.loads(json.dumps(asdict(result)))["items"][0].keys() == {"item_id", "value"}


def test_limit_and_shots_by_task_go_before_the_general_ones(small: Any, made: dict[str, dict[str, str]]) -> None:
    tasks: list[Any] = ["arc_easy", {"task": "mmlu_anatomy", "shots": 2, "limit": 1}, "truthfulqa_mc1"]
    benchmark = LmEval(LmEval.Config(tasks=tasks, shots=1, limit=2, data=made))
    found = {result.task: (result.shots, result.n) for result in benchmark.run(ours(*small), 0, ".")}
    # TruthfulQA has its shots in its template: the general setting does not add to them.
    assert found == {"arc_easy": (1, 2), "mmlu_anatomy": (2, 1), "truthfulqa_mc1": (0, 2)}


def test_groups_become_their_tasks(small: Any, made: dict[str, dict[str, str]]) -> None:
    benchmark = LmEval(LmEval.Config(tasks=["mmlu"], limit=1, data=made))
    assert len(benchmark._planned(benchmark._entries()[0], ".")) == 57
    for subject in ("anatomy", "astronomy"):  # only these have files
        assert not any(subject in sentence for sentence in benchmark.check("."))
    names = {leaf.name for leaf in Catalogue().expand("mmlu", ".")} - {f"mmlu_{subject}" for subject in SUBJECTS}
    results: Iterator[BenchmarkResult] = benchmark.run(ours(*small), 0, ".", skip=names)
    assert [(result.task, result.group) for result in results] == [("mmlu_anatomy", "mmlu"), ("mmlu_astronomy", "mmlu")]


def test_global_random_generators_are_left_as_they_were(small: Any, made: dict[str, dict[str, str]]) -> None:
    import numpy
    import torch

    def state() -> tuple[Any, ...]:
        return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    for result in LmEval(LmEval.Config(tasks=["arc_easy", "hellaswag"], shots=1, data=made)).run(ours(*small), 3, "."):
        assert state() == before, result.task
    assert state() == before


def test_a_second_run_gives_the_same_and_sees_changed_files(small: Any, tmp_path: Path) -> None:
    draw = random.Random(4)
    path = jsonl(tmp_path / "arc.jsonl", [arc_row(draw, number) for number in range(4)])
    train = jsonl(tmp_path / "train.jsonl", [arc_row(draw, number) for number in range(9)])
    config = LmEval.Config(tasks=["arc_easy"], shots=2, data={"arc_easy": {"test": path, "train": train}})
    lm = ours(*small)
    first = list(LmEval(config).run(lm, 0, "."))
    assert list(LmEval(config).run(lm, 1, ".")) == first
    jsonl(tmp_path / "arc.jsonl", [arc_row(draw, number) for number in range(3)])
    assert [result.n for result in LmEval(config).run(lm, 0, ".")] == [3, 3]


def test_nothing_is_printed(small: Any, made: dict[str, dict[str, str]], capfd: pytest.CaptureFixture[str]) -> None:
    list(four_benchmarks(made, limit=2).run(ours(*small), 0, "."))
    assert capfd.readouterr() == ("", "")


def test_a_failing_task_is_named(small: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "broken.jsonl", [arc_row(random.Random(0), 0)])
    Path(path).write_text(Path(path).read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    benchmark = LmEval(LmEval.Config(tasks=["arc_easy"], data={"arc_easy": {"test": path}}))
    with pytest.raises(TrialError, match=r"benchmark 'arc_easy'.*broken\.jsonl"):
        list(benchmark.run(ours(*small), 0, "."))
