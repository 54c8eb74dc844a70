"""Each plugin here breaks another promise."""

from __future__ import annotations

import time
from dataclasses import replace

from harness import (
    ErrorClassifierSpec,
    MetricSpec,
    ObserverSpec,
    PromptStrategy,
    RetrieverSpec,
    Strategy,
    StrategySpec,
    hookimpl,
)

AT = "broken_plugin.faults"


@hookimpl
def harness_strategies():
    return [
        StrategySpec("wrong_type", "Returns a dictionary.", f"{AT}:WrongType"),
        StrategySpec("mutates", "Changes the training examples.", f"{AT}:Mutates"),
        StrategySpec("renders_text", "Returns a text in place of a draft.", f"{AT}:RendersText"),
        StrategySpec("drops", "Takes test items away.", f"{AT}:Drops"),
    ]


@hookimpl
def harness_metrics():
    return [
        MetricSpec("sleeps", "Never ends.", f"{AT}:Sleeps"),
        MetricSpec("divides", "Raises.", f"{AT}:Divides"),
        MetricSpec("rewrites", "Changes the gold.", f"{AT}:Rewrites"),
        MetricSpec("not_a_number", "Returns NaN.", f"{AT}:NotANumber"),
    ]


@hookimpl
def harness_error_classifiers():
    return [ErrorClassifierSpec("texts", "Returns texts.", f"{AT}:Texts", categories=("x",))]


@hookimpl
def harness_retrievers():
    return [RetrieverSpec("short", "Forgets a query.", f"{AT}:Short")]


@hookimpl
def harness_observers():
    return [ObserverSpec("raises", "Raises.", f"{AT}:Raises")]


class WrongType(Strategy):
    def adapt(self, start, context):
        return {"prompt": "mine"}


class Mutates(PromptStrategy):
    def adapt(self, start, context):
        context.train[0].query.fields["question"] = "changed for everybody"
        return super().adapt(start, context)

    def render(self, draft, query, view, state):
        return draft


class RendersText(PromptStrategy):
    def render(self, draft, query, view, state):
        return draft.input


class Drops(PromptStrategy):
    def adapt(self, start, context):
        object.__setattr__(context.task, "test", context.task.test[1:])
        return super().adapt(start, context)

    def render(self, draft, query, view, state):
        return replace(draft)


class Sleeps:
    def record(self, prediction, example, context):
        time.sleep(60)
        return {"value": 1.0}

    def aggregate(self, records):
        return 1.0


class Divides(Sleeps):
    def record(self, prediction, example, context):
        return {"value": 1 / 0}


class Rewrites(Sleeps):
    def record(self, prediction, example, context):
        example.query.fields["question"] = "rewritten"
        return {"value": 1.0}


class NotANumber(Sleeps):
    def record(self, prediction, example, context):
        return {"value": float("nan")}


class Texts:
    def classify(self, prediction, example, context):
        return ["x"]


class Short:
    def build(self, documents):
        self.size = len(documents)

    def search(self, queries, k):
        return [[(0, 1.0)] for _ in queries[1:]]


class Raises:
    def observe(self, event):
        raise RuntimeError("planted in an observer")
