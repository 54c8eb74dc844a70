"""The tables of experiment.toml: keys, types, defaults, meanings. `harness.config` reads a file against them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_METRICS = {"generate": ["token_f1", "contains", "exact_match", "rouge_l"], "choose": ["accuracy", "macro_f1"]}


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExperimentTable(Table):
    name: str = Field(min_length=1, description="Name of the experiment, shown in reports.")
    seeds: list[int] = Field([0], min_length=1, description="Random seeds; each seeded arm runs once a seed.")
    baseline: str | None = Field(None, description="Arm that the others are compared with; default: the first arm.")


class ModelTable(Table):
    ref: str = Field("smollm2-135m-instruct", description="A model plugin's name, a folder, or a Hugging Face id.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format; auto: bfloat16 where the hardware is fast at it, else float32."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs.")


class SplitTable(Table):
    validation: float = Field(0.1, ge=0, lt=1, description="Share of examples for validation.")
    test: float = Field(0.2, gt=0, lt=1, description="Share of examples for the test.")
    group_by: str | None = Field(None, description="Field whose values never stand in two splits.")
    seed: int = Field(0, description="Seed of the split.")


class TaskTable(BaseModel):
    """Keys that are not listed here go to the loader."""

    model_config = ConfigDict(extra="allow", frozen=True)

    loader: str = Field("jsonl", description="Task loader: jsonl, csv, factbook, or a plugin's.")
    input: str = Field("{question}", min_length=1, description="Template of the model's input over an item's fields.")
    instruction: str = Field("", description="What the model is asked to do, in every arm's prompt.")
    labels: list[str] | None = Field(None, description="A closed set of answers makes the task classification.")
    readout: str | dict[str, Any] | None = Field(
        None, description="generate: read the text; choose: one of the labels (default with labels); or a table."
    )
    metrics: list[str | dict[str, Any]] | None = Field(None, description="Metrics, by name or { use = …, settings }.")
    primary_metric: str | None = Field(None, description="Metric that decides; default: the first.")
    split: SplitTable = Field(default_factory=SplitTable, description="How a single file is split.")


class GenerationTable(Table):
    max_new_tokens: int = Field(32, ge=1, description="Longest answer, in tokens.")
    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling.")
    stop: list[str] = Field(["\n"], description="Texts that end an answer.")


class ArmTable(BaseModel):
    """Keys that are not listed here are the settings of the arm's strategies, by name or id."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, description="Name of the arm.")
    strategies: list[str | dict[str, Any]] = Field(min_length=1, description="The chain, applied left to right.")
    sweep: dict[str, Any] = Field(default_factory=dict, description='Values to try, by "strategy.setting".')


class BudgetTable(Table):
    candidates_per_arm: int = Field(8, ge=1, description="Candidates that the sweep of any arm may try.")
    search: Literal["grid", "random", "optuna"] = Field(
        "grid", description="grid: all of them; random: drawn without repetition; optuna: guided by what was found."
    )
    seed: int = Field(0, description="Seed of a random or guided search.")


class LearningCurveTable(Table):
    sizes: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Numbers of training examples; each set contains the smaller ones."
    )
    arms: list[str] | None = Field(None, description="Arms; default: every arm with a strategy that trains.")
    seed: int = Field(0, description="Seed of the order in which examples are added.")


class BenchmarksTable(BaseModel):
    """Keys that are not listed here go to the benchmark plugin."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str = Field("lm_eval", min_length=1, description="Benchmark plugin.")


class SlicesTable(Table):
    by: list[str] = Field([], description="Fields by which errors are counted; also length, gold and group.")


class CostTable(Table):
    usd_per_hour: float | None = Field(None, ge=0, description="Price of the machine per hour.")
    usd_per_1k_input_tokens: float | None = Field(None, ge=0, description="Price of 1,000 prompt tokens.")
    usd_per_1k_output_tokens: float | None = Field(None, ge=0, description="Price of 1,000 generated tokens.")
    usd_per_1k_cached_tokens: float | None = Field(None, ge=0, description="Price of 1,000 cached prompt tokens.")
    usd_per_1k_train_tokens: float | None = Field(None, ge=0, description="Price of 1,000 trained tokens.")
    usd_hosting_per_month: float | None = Field(None, ge=0, description="Fixed price of hosting per month.")
    usd_per_error: float | None = Field(None, ge=0, description="What a wrong answer costs you.")


class DecisionTable(Table):
    monthly_requests: float | None = Field(None, ge=0, description="Requests a month, for monthly costs.")
    horizon_months: float = Field(12, gt=0, description="Months over which one-off costs are spread.")
    refreshes_per_month: float = Field(0, ge=0, description="Re-indexing or retraining per month.")
    margin: float = Field(0.02, ge=0, description="Smaller differences of the primary metric do not matter.")
    limits: dict[str, float] = Field(default_factory=dict, description="Upper bounds, e.g. latency_p95_s.")


class RunTable(Table):
    """How a run goes, whatever it finds. Nothing here changes a result or a key."""

    observers: list[str | dict[str, Any]] = Field(
        default_factory=list, description="Watchers of the run's events, by name or { use = …, settings }."
    )
    trial_limit_s: float | None = Field(None, gt=0, description="A trial that takes longer is ended; unset: none is.")
    silence_limit_s: float = Field(
        1800.0, gt=0, description="A trial that gives no sign of progress for so long is ended; so is a metric."
    )


TABLES: dict[str, type[BaseModel]] = {
    "experiment": ExperimentTable,
    "model": ModelTable,
    "task": TaskTable,
    "generation": GenerationTable,
    "budget": BudgetTable,
    "learning_curve": LearningCurveTable,
    "benchmarks": BenchmarksTable,
    "slices": SlicesTable,
    "cost": CostTable,
    "decision": DecisionTable,
    "run": RunTable,
}
LISTS = ("arm", "plugins", "eval", "category", "errors")  # top-level keys that are no plain tables
LIMITS = (
    "latency_p95_s",
    "latency_p50_s",
    "usd_per_1k_requests",
    "usd_per_month",
    "peak_memory_bytes",
    "forgetting",
    "refusal",
)
