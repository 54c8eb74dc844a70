"""The contract suites: every built-in keeps every promise, and for every promise there is a plugin that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

from harness.adaptation import Delta, Readout
from harness.hookspecs import (
    ErrorClassifierSpec,
    MetricSpec,
    ModelSpec,
    ObserverSpec,
    RetrieverSpec,
    Spec,
    StrategySpec,
    TaskLoaderSpec,
)
from harness.plugins import HOOKS, Origin, Registered, Registry, load_plugins
from harness.strategy import Context, PromptStrategy, Strategy
from harness.testing import Broken, FakeModel, NotApplicable, Promise, promises, promises_of, tiny_questions
from harness.testing.promise import PROMISES
from harness.types import Document, Draft, ErrorLabel, Example, LedgerEntry, LoadedData, Passage, Query, Shot

SETTINGS: dict[str, dict[str, Any]] = {
    "lm_eval": {"tasks": ["arc_easy"]},
    "json_schema": {"schema": {"type": "object"}},
    "regex": {"pattern": "[A-Z].*"},
    "contains_text": {"texts": ["e"]},
    "pattern": {"name": "own", "pattern": "e"},
    "csv": {"data": "tiny.csv"},
    "jsonl": {"data": "tiny.jsonl"},
    "factbook": {"train": 8, "validation": 2, "test": 4, "countries": 12},
}


def built_in() -> Iterator[Any]:
    registry = load_plugins()
    for entry in registry.entries:
        # "python" runs a file beside an experiment file: see test_criteria.
        if entry.kind in HOOKS and entry.name != "python":
            for promise in promises_of(entry, registry, SETTINGS.get(entry.name)):
                yield pytest.param(promise, id=str(promise))


@pytest.mark.parametrize("promise", built_in())
def test_built_ins_keep_every_promise(promise: Promise) -> None:
    try:
        promise()
    except NotApplicable as reason:
        # The reasons are few and known: a promise must not go untested for want of a setting here.
        known = (
            "named by its settings",
            "change the prompt",
            "no value for plain answers",
            "mean=False",
            "needs the package",
            "nothing measured",
            "does not prepare",
            "not installed",
        )
        assert any(part in str(reason) for part in known), reason


# ------------------------------------------------------------------------------------------- planted breaks


class Good(PromptStrategy):
    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        return replace(draft, instruction=f"{draft.instruction} Be short.")


class NoSentence(Good):
    pass


class ForgetsSettings(Good):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        k: int = Field(1, description="How many.")

        def model_dump(self, **options: Any) -> dict[str, Any]:
            return {"k": self.k + 1}


class TakesAnySetting(Good):
    class Config(BaseModel):
        k: int = Field(1, description="How many.")


class SilentSetting(Good):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        k: int = 1


class WrongPart(Strategy):
    def adapt(self, start: Any, context: Context) -> Any:
        return start.with_readout(Readout("choose"))


class ReturnsText(Strategy):
    def adapt(self, start: Any, context: Context) -> Any:
        return "done"


class ChangesTraining(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        context.train[0].query.fields["question"] = "?"  # type: ignore[index]
        return super().adapt(start, context)


class UnseededDraw(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        import random

        return start.with_step(context.step({"draw": random.random()}))


class SeedsInSecret(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        return start.with_step(context.step({"seed": context.seed}))


class StateInObject(Good):
    """Keeps what it found on itself instead of in the step's state."""

    found = 0

    def adapt(self, start: Any, context: Context) -> Any:
        self.found = 1
        return start.with_step(context.step({"shots": (1, 2)}))

    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        return replace(draft, instruction=f"{type(state['shots']).__name__}")


class RemembersQueries(Good):
    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.seen: list[str] = []

    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        self.seen.append(query.fields["question"])
        return replace(draft, instruction=" ".join(self.seen))


class InventsShots(Good):
    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        return replace(draft, shots=(Shot("What?", "That.", "nowhere"),))


class InventsPassages(Good):
    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        return replace(draft, passages=(Passage("doc0", "", "another text", 1.0, 1),))


class ShowsOwnAnswer(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        gold = {example.id: example.references[0] for example in context.train}
        return start.with_step(context.step({"gold": gold}))

    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        return replace(draft, context=state["gold"].get(query.id, ""))


class ShowsTwin(Good):
    """A shot whose question is the item's own, under another id."""

    def render(self, draft: Draft, query: Query, view: Any, state: Any) -> Draft:
        twin = next((example for example in tiny_questions().train if example.query.fields == query.fields), None)
        if twin is None:
            return draft
        return replace(draft, shots=(Shot(draft.input, twin.references[0], "twin0"),))


class BooksNothing(Strategy):
    def adapt(self, start: Any, context: Context) -> Any:
        return start.with_delta(Delta("peft", "0" * 64, "x"))


class BooksNonsense(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        context.ledger(LedgerEntry("prepare", "tokens_in", float("nan"), "tokens"))
        return super().adapt(start, context)


class KeepsContext(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        self.context = context
        return super().adapt(start, context)


class ReachesForTest(Good):
    def adapt(self, start: Any, context: Context) -> Any:
        return start.with_step(context.step({"n": len(context.task.test)}))  # type: ignore[attr-defined]


class RefusesAll(Good):
    def check(self, facts: Any) -> list[str]:
        return ["never works."]


class Fair:
    """A metric without fault, for others to spoil."""

    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        if prediction.finish == "error":
            return {"value": None, "reason": "no answer"}
        return {"value": float(prediction.parsed == example.references[0])}

    def aggregate(self, records: Sequence[Any]) -> float | None:
        known = [record["value"] for record in records if record["value"] is not None]
        return sum(known) / len(known) if known else None


class GivesNaN(Fair):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        return {"value": float("nan")}


class CountsFailures(Fair):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        return {"value": float(prediction.parsed == example.references[0])}


class Inverted(Fair):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        found = super().record(prediction, example, context)
        return found if found["value"] is None else {"value": 1 - found["value"]}


class OutOfBounds(Fair):
    def aggregate(self, records: Sequence[Any]) -> float | None:
        mean = super().aggregate(records)
        return None if mean is None else 100 * mean


class LikesTheFirst(Fair):
    judged = 0

    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        self.judged += 1
        return {"value": 1.0 / self.judged} if prediction.finish != "error" else {"value": None, "reason": "none"}


class NoMean(Fair):
    def aggregate(self, records: Sequence[Any]) -> float | None:
        mean = super().aggregate(records)
        return None if mean is None else mean**2 / 2


class RecordsTuples(Fair):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        return {**super().record(prediction, example, context), "pair": (1, 2)}

    def aggregate(self, records: Sequence[Any]) -> float | None:
        return super().aggregate([record for record in records if isinstance(record.get("pair"), tuple)])


class EditsGold(Fair):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        example.query.fields["question"] = "?"  # type: ignore[index]
        return super().record(prediction, example, context)


class Hoards(Fair):
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        self.kept.append(prediction)
        return super().record(prediction, example, context)


class Thorough(Fair):
    """One that prepares and has something measured, without fault."""

    known: frozenset[str] = frozenset()

    def measurement(self) -> Any:
        return {"samples": 2}

    def prepare(self, predictions: Sequence[Any], examples: Sequence[Example]) -> None:
        self.known = frozenset(prediction.item_id for prediction in predictions)

    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        if not context.measured:
            return {"value": None, "reason": context.unmeasured}
        return super().record(prediction, example, context)


class MakesUp(Thorough):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        return Fair.record(self, prediction, example, context)


class WantsMore(Thorough):
    def measurement(self) -> Any:
        return {"sampels": 2}


class PreparesToCheat(Thorough):
    def record(self, prediction: Any, example: Example, context: Any) -> Any:
        return {**super().record(prediction, example, context), "known": prediction.item_id in self.known}


class Undeclared:
    def classify(self, *case: Any) -> Any:
        return [ErrorLabel("surprise")]


class Moody:
    count = 0

    def classify(self, *case: Any) -> Any:
        self.count += 1
        return [ErrorLabel("x")] if self.count < 4 else []


class Flat:
    """A retriever without fault (word overlap), for others to spoil."""

    def build(self, documents: Sequence[Document]) -> None:
        self.words = [set(document.text.lower().split()) for document in documents]

    def search(self, queries: Sequence[str], k: int) -> Any:
        return [self.rank(query)[:k] for query in queries]

    def rank(self, query: str) -> list[tuple[int, float]]:
        wanted = set(query.lower().split())
        scored = [(position, float(len(wanted & words))) for position, words in enumerate(self.words)]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))


class WorstFirst(Flat):
    def rank(self, query: str) -> list[tuple[int, float]]:
        return super().rank(query)[::-1]


class Backwards(Flat):
    def search(self, queries: Sequence[str], k: int) -> Any:
        return super().search(queries[::-1], k)


class Restless(Flat):
    builds = 0

    def build(self, documents: Sequence[Document]) -> None:
        Restless.builds += 1
        self.skipped = Restless.builds % 2
        super().build(documents)

    def rank(self, query: str) -> list[tuple[int, float]]:
        return super().rank(query)[self.skipped :]


class DependsOnK(Flat):
    def search(self, queries: Sequence[str], k: int) -> Any:
        return [self.rank(query)[k % 3 : k % 3 + k] for query in queries]


class Blind(Flat):
    def rank(self, query: str) -> list[tuple[int, float]]:
        return [(position, 1.0) for position in range(len(self.words))]


class SortsQueries(Flat):
    def search(self, queries: Sequence[str], k: int) -> Any:
        found = super().search(queries, k)
        queries.sort()  # type: ignore[attr-defined]
        return found


class Collector(Flat):
    kept: ClassVar[list[Any]] = []

    def build(self, documents: Sequence[Document]) -> None:
        self.kept.append(documents)
        super().build(documents)


class LoadsList:
    def load(self, folder: str) -> Any:
        return []


class SameId:
    def load(self, folder: str) -> Any:
        return LoadedData(pool=tuple(Example(Query("one", {"question": "?"}), ("a",)) for _ in range(2)))


class Grows:
    loads = 0

    def load(self, folder: str) -> Any:
        Grows.loads += 1
        return LoadedData(pool=tuple(Example(Query(f"{n}", {"q": "?"}), ("a",)) for n in range(Grows.loads)))


def nameless_model() -> Any:
    return "model"


class EditsEvents:
    def observe(self, event: Any) -> None:
        event.data["mine"] = 1


AT = __name__
BREAKS: list[tuple[str, Spec]] = [
    ("described", StrategySpec("no sentence", "no sentence", f"{AT}:NoSentence")),
    ("described", StrategySpec("missing", "Is not there.", f"{AT}:IsNotThere")),
    ("settings_round_trip", StrategySpec("a", "A.", f"{AT}:ForgetsSettings")),
    ("settings_strict", StrategySpec("a", "A.", f"{AT}:TakesAnySetting")),
    ("settings_documented", StrategySpec("a", "A.", f"{AT}:SilentSetting")),
    ("returns_adaptation", StrategySpec("a", "A.", f"{AT}:WrongPart")),
    ("returns_adaptation", StrategySpec("a", "A.", f"{AT}:ReturnsText")),
    ("leaves_arguments_alone", StrategySpec("a", "A.", f"{AT}:ChangesTraining")),
    ("deterministic", StrategySpec("a", "A.", f"{AT}:UnseededDraw")),
    ("deterministic", StrategySpec("a", "A.", f"{AT}:SeedsInSecret")),
    ("save_load_parity", StrategySpec("a", "A.", f"{AT}:StateInObject")),
    ("order_kept", StrategySpec("a", "A.", f"{AT}:RemembersQueries")),
    ("ids_match", StrategySpec("a", "A.", f"{AT}:InventsShots")),
    ("ids_match", StrategySpec("a", "A.", f"{AT}:InventsPassages")),
    ("hides_test_split", StrategySpec("a", "A.", f"{AT}:RemembersQueries")),
    ("returns_adaptation", StrategySpec("a", "A.", f"{AT}:ReachesForTest")),
    ("leave_one_out", StrategySpec("a", "A.", f"{AT}:ShowsOwnAnswer")),
    ("leave_one_out", StrategySpec("a", "A.", f"{AT}:ShowsTwin")),
    ("costs_recorded", StrategySpec("a", "A.", f"{AT}:BooksNothing", changes="model", delta="peft")),
    ("costs_recorded", StrategySpec("a", "A.", f"{AT}:BooksNonsense")),
    ("memory_released", StrategySpec("a", "A.", f"{AT}:KeepsContext")),
    ("checks_in_sentences", StrategySpec("a", "A.", f"{AT}:RefusesAll")),
    ("records_storable", MetricSpec("a", "A.", f"{AT}:GivesNaN")),
    ("unknown_is_none", MetricSpec("a", "A.", f"{AT}:CountsFailures")),
    ("unmeasured_is_none", MetricSpec("a", "A.", f"{AT}:MakesUp", measures="repeats")),
    ("unmeasured_is_none", MetricSpec("a", "A.", f"{AT}:WantsMore", measures="repeats")),
    ("prepare_changes_nothing", MetricSpec("a", "A.", f"{AT}:PreparesToCheat", measures="repeats")),
    ("gold_is_best", MetricSpec("a", "A.", f"{AT}:Inverted")),
    ("gold_is_best", MetricSpec("a", "A.", f"{AT}:OutOfBounds")),
    ("order_irrelevant", MetricSpec("a", "A.", f"{AT}:LikesTheFirst")),
    ("mean_is_mean", MetricSpec("a", "A.", f"{AT}:NoMean")),
    ("save_load_parity", MetricSpec("a", "A.", f"{AT}:RecordsTuples")),
    ("leaves_arguments_alone", MetricSpec("a", "A.", f"{AT}:EditsGold")),
    ("memory_released", MetricSpec("a", "A.", f"{AT}:Hoards")),
    ("declared_categories", ErrorClassifierSpec("a", "A.", f"{AT}:Undeclared", categories=("x",))),
    ("order_irrelevant_for_categories", ErrorClassifierSpec("a", "A.", f"{AT}:Moody", categories=("x",))),
    ("answers_well_formed", RetrieverSpec("a", "A.", f"{AT}:WorstFirst")),
    ("order_kept", RetrieverSpec("a", "A.", f"{AT}:Backwards")),
    ("deterministic", RetrieverSpec("a", "A.", f"{AT}:Restless")),
    ("smaller_k_is_a_prefix", RetrieverSpec("a", "A.", f"{AT}:DependsOnK")),
    ("finds_the_obvious", RetrieverSpec("a", "A.", f"{AT}:Blind")),
    ("leaves_arguments_alone", RetrieverSpec("a", "A.", f"{AT}:SortsQueries")),
    ("memory_released", RetrieverSpec("a", "A.", f"{AT}:Collector")),
    ("returns_data", TaskLoaderSpec("a", "A.", f"{AT}:LoadsList")),
    ("ids_unique", TaskLoaderSpec("a", "A.", f"{AT}:SameId")),
    ("deterministic", TaskLoaderSpec("a", "A.", f"{AT}:Grows")),
    ("found_or_explained", ModelSpec("a", "A.", f"{AT}:nameless_model")),
    ("takes_every_event", ObserverSpec("a", "A.", f"{AT}:EditsEvents")),
]


def entry_of(spec: Spec) -> Registered:
    kind = next(kind for kind, (_, model) in HOOKS.items() if type(spec) is model)
    return Registered(kind, spec, Origin("main", "third-party", "9.9"))


def with_entry(registry: Registry, spec: Spec) -> tuple[Registered, Registry]:
    entry = entry_of(spec)
    return entry, Registry(registry.origins, [*registry.entries, entry])


@pytest.mark.parametrize(("name", "spec"), BREAKS, ids=lambda value: getattr(value, "target", value).rpartition(":")[2])
def test_a_broken_promise_is_caught_and_named(name: str, spec: Spec, registry: Registry) -> None:
    entry, registry = with_entry(registry, spec)
    promise = next(promise for promise in promises_of(entry, registry) if promise.name == name)
    with pytest.raises(Broken, match=r"third-party 9\.9"):
        promise()


@pytest.mark.parametrize(
    "spec",
    [
        StrategySpec("good", "Good.", f"{AT}:Good"),
        MetricSpec("fair", "Fair.", f"{AT}:Fair"),
        MetricSpec("thorough", "Thorough.", f"{AT}:Thorough", measures="repeats"),
        RetrieverSpec("flat", "Flat.", f"{AT}:Flat"),
    ],
    ids=lambda spec: spec.name,
)
def test_what_the_broken_ones_spoil_is_sound(spec: Spec, registry: Registry) -> None:
    entry, registry = with_entry(registry, spec)
    for promise in promises_of(entry, registry):
        try:
            promise()
        except NotApplicable:  # of the metrics the second both prepares and measures
            assert spec.name == "fair" and promise.name in ("unmeasured_is_none", "prepare_changes_nothing")


def test_every_promise_has_a_plugin_that_breaks_it() -> None:
    broken = {(entry_of(spec).kind, name) for name, spec in BREAKS}
    anyone = {name for _, name in broken}
    for kind, checks in PROMISES.items():
        for check in checks:
            of_any = kind in ("any", "settings")
            missing = check.__name__ not in anyone if of_any else (kind, check.__name__) not in broken
            shared = kind == "error classifier" and ("metric", check.__name__) in broken  # one check for both kinds
            assert not missing or shared, f"{kind}: {check.__name__}"
            assert (check.__doc__ or "").rstrip().endswith("."), check.__name__


# ------------------------------------------------------------------------------------- what authors are given


def test_the_fake_context_offers_what_strategies_may_touch_and_no_more(fake_context: Callable[..., Any]) -> None:
    context = fake_context("prompt", tiny_questions())
    offered = set(Context.__annotations__) | {
        name for name, value in vars(Context).items() if callable(value) and not name.startswith("_")
    }
    missing = {name for name in offered if name not in vars(context) and not hasattr(type(context), name)}
    assert not missing, f"harness.testing.FakeContext lacks {missing}"
    with pytest.raises(Broken, match=r"context\.task"):
        _ = context.task


def test_the_fake_model_answers_by_its_rule_and_costs_are_booked(fake_context: Callable[..., Any]) -> None:
    from harness.testing.contract_strategy import start_of

    task = tiny_questions()
    model = FakeModel(lambda messages: "Lima" if "Peru" in messages[-1].content else "?")
    context = fake_context("prompt", task, model=model)
    start = start_of(task).with_step(context.step())
    assert context.generate(start, [example.query for example in task.train[:2]]) == ["Lima", "?"]
    assert len(model.asked) == 2
    assert {entry.quantity for entry in context.booked} == {"tokens_in", "tokens_out"}


def test_an_unknown_plugin_has_no_promises() -> None:
    from harness.exceptions import PluginError

    with pytest.raises(PluginError, match="no plugin 'loraa'") as caught:
        promises("loraa")
    assert "'lora'" in caught.value.hint
