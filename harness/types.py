"""The vocabulary: frozen records and small protocols that every part shares.

Standard library only. A record that crosses a process or the database is built from strings, numbers, tuples and
mappings of those, so `dataclasses.asdict` gives its JSON form.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Phase = Literal["prepare", "train", "predict", "evaluate"]
PHASES: tuple[Phase, ...] = ("prepare", "train", "predict", "evaluate")


# ------------------------------------------------------------------------------------------------ task data


@dataclass(frozen=True)
class Query:
    """What a model may see of one item: its fields, never its answer."""

    id: str
    fields: Mapping[str, str]
    group: str | None = None


@dataclass(frozen=True)
class Example:
    """A query with its gold: acceptable answers, best first, and the documents that state it, where known."""

    query: Query
    references: tuple[str, ...]
    evidence: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.query.id


@dataclass(frozen=True)
class Document:
    """One retrievable text. `examples` names items whose question *and* answer it states (see leave-one-out)."""

    id: str
    text: str
    title: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedData:
    """What a task loader returns. A loader that knows its splits fills `splits`; otherwise `pool` is split by us."""

    pool: tuple[Example, ...] = ()
    splits: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    corpus: tuple[Document, ...] = ()
    notes: tuple[str, ...] = ()


# --------------------------------------------------------------------------------------------------- prompts


@dataclass(frozen=True)
class Shot:
    """A worked example inside a prompt. `example_id` lets the runner prove that no answer is shown to itself."""

    input: str
    target: str
    example_id: str


@dataclass(frozen=True)
class Passage:
    """A retrieved text inside a prompt; `rank` counts from 1."""

    document_id: str
    title: str
    text: str
    score: float
    rank: int


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Draft:
    """A prompt under construction: prompt strategies add to it in order, the renderer turns it into chat messages.

    Each user turn is `template` with `{instruction}`, `{context}` and `{input}` filled in; empty parts collapse.
    """

    input: str
    system: str | None = None
    instruction: str = ""
    context: str = ""
    template: str = "{instruction}\n\n{context}\n\n{input}"
    shots: tuple[Shot, ...] = ()
    passages: tuple[Passage, ...] = ()


# --------------------------------------------------------------------------------------- what a trial leaves


@dataclass(frozen=True)
class Prediction:
    """One answer of one trial, with everything needed to judge it without a model.

    `finish` says why the text ended: "stop" (end of turn or stop string), "length" (token limit), "choice" (picked
    from the labels), "overflow" (the arm's own prompt did not fit: counts as its answer), "error" (ours: not counted).
    `label_scores` holds, for choices by likelihood, the labels' log-likelihoods in nats, with the readout's length
    normalisation and calibration applied; their softmax is the labels' probabilities.
    """

    item_id: str
    prompt: str
    raw: str
    parsed: str
    finish: Literal["stop", "length", "choice", "overflow", "error"]
    tokens_in: int
    tokens_out: int
    passages: tuple[Passage, ...] = ()
    label_scores: Mapping[str, float] | None = None
    error: str | None = None


@dataclass(frozen=True)
class ErrorLabel:
    """One error category found on one prediction, with the evidence for it in a few words."""

    category: str
    evidence: str = ""


@dataclass(frozen=True)
class LedgerEntry:
    """One cost. `value` is None when unknown, never 0; `basis` says how it was obtained."""

    phase: Phase
    quantity: str  # e.g. wall_s, tokens_in, tokens_out, trained_tokens, peak_memory_bytes, trainable_parameters
    value: float | None
    unit: str
    basis: Literal["measured", "sampled", "estimated", "unknown"] = "measured"


# ------------------------------------------------------------------------------------------ evals (protocols)

Record = Mapping[str, Any]


@dataclass(frozen=True)
class EvalContext:
    """What metrics and error classifiers may know besides prediction and gold. `vocabulary`: the words, in lower case,
    of corpus, inputs and references; `scores`: what the metrics said before the classifiers are asked.

    `measured`: for a metric whose spec has `measures`, what was measured for this item (see `harness.measures`); empty
    where nothing was, and `unmeasured` says why."""

    readout: str  # "generate" or "choose"
    labels: tuple[str, ...] = ()
    input: str = ""
    max_new_tokens: int | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    vocabulary: Container[str] = frozenset()
    measured: Mapping[str, Any] = field(default_factory=dict)
    unmeasured: str = ""


@runtime_checkable
class Metric(Protocol):
    """A per-item record and an aggregate of records; see `harness.MetricSpec` for how one is published."""

    def record(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        """Facts about one item. `{"value": x}` where the aggregate is a mean; None for x means unknown, with
        `"reason"`."""
        ...

    def aggregate(self, records: Sequence[Record]) -> float | None:
        """The metric over many items; None when it cannot be computed."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """Optional, for a metric that judges many answers at once more cheaply than one by one. It is asked when a trial's
    answers are all there, never while the model answers: what it computes would slow down what is being timed."""

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> None:
        """Called before `record` is asked about these predictions, each with its example at the same place. `record`
        must give the same without it, only slower."""
        ...


@runtime_checkable
class Measuring(Protocol):
    """Of a metric whose spec has `measures`."""

    def measurement(self) -> Mapping[str, Any]:
        """Settings of what is to be measured: those of the kind in `harness.measures`. Metrics that return the same
        share one measurement."""
        ...


@runtime_checkable
class ErrorClassifier(Protocol):
    """Puts a prediction into error categories."""

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]: ...


@runtime_checkable
class Retriever(Protocol):
    """Ranks documents for queries. Built once per corpus; must be deterministic."""

    def build(self, documents: Sequence[Document]) -> None: ...

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """For each query up to k pairs (document position, score), best first; ties by position."""
        ...


@runtime_checkable
class TaskLoader(Protocol):
    """Reads data. Constructed with its settings; `folder` is where relative paths start."""

    def load(self, folder: str) -> LoadedData: ...


# ----------------------------------------------------------------------------------------- public benchmarks


@dataclass(frozen=True)
class BenchmarkItem:
    """One item's value under one metric; None where the metric is not a number per item. Arms pair by `item_id`."""

    item_id: str
    value: float | None


@dataclass(frozen=True)
class BenchmarkResult:
    """One metric of one benchmark task, measured on one model.

    `group`: the name in the experiment file that brought the task in ("mmlu" for "mmlu_anatomy"; a task named itself
    is its own group). `mean`: the value is the mean of the items' values, so that paired item differences are its
    change. `primary`: the task's first metric. `truncated`: requests of the task whose context did not fit the window.
    """

    task: str
    group: str
    metric: str
    value: float | None
    higher_is_better: bool
    n: int
    shots: int
    items: Sequence[BenchmarkItem]
    mean: bool = True
    primary: bool = False
    truncated: int = 0


@runtime_checkable
class Benchmark(Protocol):
    """Measures a model on public tasks. Constructed with its settings; `folder` is where relative paths start.

    `online`: the settings allow data to be fetched from a hub.
    """

    online: bool

    def check(self, folder: str, *, loglikelihoods: bool = True) -> list[str]:
        """Sentences on what cannot work, without loading a model or torch. `loglikelihoods`: the model can score
        given texts."""
        ...

    def keys(self, folder: str) -> Mapping[str, str]:
        """A digest for each task of everything but the model that its results depend on: a result stored under the
        same key and the same adapted model need not be measured again."""
        ...

    def run(self, lm: Any, seed: int, folder: str, *, skip: Collection[str] = ()) -> Iterator[BenchmarkResult]:
        """Results task by task, as they are made. `lm`: an lm-eval `LM` over the adapted model; `seed`: of sampled
        texts, never of items or shots; `skip`: tasks that are stored already. Leaves random generators as they were."""
        ...
