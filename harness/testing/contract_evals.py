"""What every metric and every error classifier promises."""

from __future__ import annotations

import gc
import json
import math
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from harness.guard import untouched
from harness.measures import KINDS
from harness.testing.promise import Broken, NotApplicable, Subject, promise, require
from harness.testing.tiny import TinyTask, tiny_labels, tiny_questions
from harness.types import ErrorLabel, EvalContext, Example, Passage, Prediction, Preparing, Record

Case = tuple[Prediction, Example, EvalContext]


def task_for(subject: Subject) -> TinyTask:
    return tiny_labels() if "labels" in getattr(subject.spec, "needs", ()) else tiny_questions()


def answer(task: TinyTask, example: Example, text: str, finish: Any = "stop") -> Case:
    """A prediction with that text, and what a metric is told about it."""
    scores = None
    if task.labels and finish != "error":
        scores = {label: -0.1 if label == text else -4.0 for label in task.labels}
    finish = "choice" if scores is not None else finish
    prediction = Prediction(
        item_id=example.id,
        prompt=f"user: {task.inputs()[example.id]}",
        raw=text,
        parsed=text,
        finish=finish,
        tokens_in=12,
        tokens_out=len(text.split()),
        passages=() if task.labels else (Passage("doc0", "Page 0", "The capital is Lima.", 1.0, 1),),
        label_scores=scores,
        error="planted" if finish == "error" else None,
    )
    context = EvalContext(task.readout, task.labels, task.inputs()[example.id], 16, measured=measured(example, text))
    return prediction, example, context


def measured(example: Example, text: str) -> dict[str, Any]:
    """What a model might have shown when it was measured, of every kind at once (see `harness.measures`)."""
    references = [{"nats": 0.5 * len(r) + 0.25, "tokens": len(r), "bytes": len(r.encode())} for r in example.references]
    again = [{"text": text, "finish": "stop", "sample": 0}, {"text": "other", "finish": "stop", "sample": 1}]
    return {"references": references, "answers": [*again, {"text": text, "finish": "stop", "instruction": 0}]}


def gold(task: TinyTask) -> list[Case]:
    return [answer(task, example, example.references[0]) for example in task.test]


def wrong(task: TinyTask) -> list[Case]:
    """Each item answered with a gold answer of another kind."""
    texts = sorted({example.references[0] for example in task.test})
    return [
        answer(task, example, next(text for text in texts if text != example.references[0])) for example in task.test
    ]


def odd(task: TinyTask) -> list[Case]:
    """Answers that a model really gives: none, cut off, endless, in another script."""
    texts = ("", "   ", "the the the the the the the", "答案是…🙂", "{", "-1,5 e300")
    cases = [answer(task, example, text) for example in task.test[:1] for text in texts]
    return [*cases, answer(task, task.test[0], "cut in the mid", finish="length")]


def records(metric: Any, cases: Sequence[Case]) -> list[Record]:
    return [metric.record(*case) for case in cases]


@promise("metric")
def records_storable(subject: Subject) -> None:
    """A record is a mapping of JSON values without NaN, for any answer; as many come back as went in."""
    task = task_for(subject)
    for case in (*gold(task), *wrong(task), *odd(task)):
        record = subject.create().record(*case)
        require(isinstance(record, dict), f"returns {type(record).__name__} for {case[0].parsed!r}, not a record.")
        json.dumps(record, allow_nan=False)


@promise("metric")
def unknown_is_none(subject: Subject) -> None:
    """Our own failure is never a wrong answer: it has no value, a reason, and no weight in the aggregate."""
    task = task_for(subject)
    metric = subject.create()
    failed = metric.record(*answer(task, task.test[0], "", finish="error"))
    require(failed.get("value") is None, f"scores an answer that the harness failed to make: {failed}.")
    require(bool(failed.get("reason")), f"gives no reason for a value it does not have: {failed}.")
    known = records(metric, gold(task))
    require(metric.aggregate([*known, failed]) == metric.aggregate(known), "lets a failed item change the aggregate.")
    require(metric.aggregate([]) is None, "has a value for no records at all; unknown is None.")


@promise("metric")
def unmeasured_is_none(subject: Subject) -> None:
    """It wants something known measured, and an item for which nothing was measured has no value and says why."""
    if not subject.spec.measures:
        raise NotApplicable("it has nothing measured")
    task, metric = task_for(subject), subject.create()
    settings = metric.measurement()
    try:
        KINDS[subject.spec.measures](**settings)
    except (TypeError, ValidationError) as error:
        raise Broken(f"wants {dict(settings)} measured: {error}") from None
    prediction, example, context = gold(task)[0]
    record = metric.record(prediction, example, replace(context, measured={}, unmeasured="planted"))
    require(record.get("value") is None, f"has a value for an item that was not measured: {record}.")
    require("planted" in str(record.get("reason")), f"does not pass on why an item was not measured: {record}.")
    require(metric.aggregate([record]) is None, "aggregates what was not measured.")


@promise("metric")
def prepare_changes_nothing(subject: Subject) -> None:
    """`prepare`, where it has one, makes records cheaper and never different."""
    task, metric = task_for(subject), subject.create()
    if not isinstance(metric, Preparing):
        raise NotApplicable("it does not prepare")
    cases = [*gold(task), *wrong(task), *odd(task), answer(task, task.test[0], "", finish="error")]
    plain = records(subject.create(), cases)
    metric.prepare([prediction for prediction, _, _ in cases], [example for _, example, _ in cases])
    require(records(metric, cases) == plain, "gives other records once it has prepared.")


@promise("metric")
def gold_is_best(subject: Subject) -> None:
    """Gold answers score at least as well as wrong ones, and everything lies within the declared bounds."""
    task, spec, metric = task_for(subject), subject.spec, subject.create()
    values = {}
    for name, cases in (("gold", gold(task)), ("wrong", wrong(task)), ("odd", odd(task))):
        values[name] = value = metric.aggregate(records(metric, cases))
        if value is None:
            continue
        require(math.isfinite(value), f"gives {value} for {name} answers; unknown is None.")
        for bound, kept in ((spec.low, value >= (spec.low or 0.0)), (spec.high, value <= (spec.high or 0.0))):
            require(bound is None or kept, f"gives {value} for {name} answers, beyond its bound {bound}.")
    if values["gold"] is None or values["wrong"] is None:
        raise NotApplicable("it has no value for plain answers")
    better = values["gold"] >= values["wrong"] if spec.higher_is_better else values["gold"] <= values["wrong"]
    require(better, f"prefers wrong answers ({values['wrong']:.3f}) to gold ones ({values['gold']:.3f}).")


@promise("metric")
def order_irrelevant(subject: Subject) -> None:
    """Records do not depend on what was judged before, nor the aggregate on their order."""
    task = task_for(subject)
    metric = subject.create()
    cases = [*gold(task), *wrong(task)]
    forward, backward = records(metric, cases), records(subject.create(), cases[::-1])[::-1]
    require(forward == backward, "judges an answer by what was judged before it.")
    one, two = metric.aggregate(forward), metric.aggregate(forward[::-1])
    same = one == two or (one is not None and two is not None and math.isclose(one, two, rel_tol=1e-9))
    require(same, f"aggregates the same records to {one} and to {two}.")


@promise("metric")
def mean_is_mean(subject: Subject) -> None:
    """A metric declared as a mean is the mean of its records' "value"."""
    if not subject.spec.mean:
        raise NotApplicable("its spec says mean=False")
    task = task_for(subject)
    metric = subject.create()
    found = records(metric, [*gold(task), *wrong(task)])
    values = [record["value"] for record in found if record.get("value") is not None]
    if not values:
        raise NotApplicable("it has no value for plain answers")
    mean, total = math.fsum(values) / len(values), metric.aggregate(found)
    require(
        total is not None and math.isclose(total, mean, abs_tol=1e-9), f"aggregates to {total}; the mean is {mean}."
    )


@promise("metric")
def save_load_parity(subject: Subject) -> None:
    """Records that were stored and read again give the same aggregate, by another object."""
    task = task_for(subject)
    metric = subject.create()
    found = records(metric, [*gold(task), *wrong(task)])
    stored = json.loads(json.dumps(found))
    require(subject.create().aggregate(stored) == metric.aggregate(found), "reads stored records differently.")


@promise("metric", "error classifier")
def leaves_arguments_alone(subject: Subject) -> None:
    """It changes nothing of what it was given."""
    task = task_for(subject)
    plugin = subject.create()
    for case in (*gold(task), *odd(task)):
        with untouched("", "judging", case=case):
            _judge(plugin, case)


@promise("metric", "error classifier")
def memory_released(subject: Subject) -> None:
    """It does not keep the predictions it has judged."""
    task = task_for(subject)
    plugin = subject.create()
    case = gold(task)[0]
    _judge(plugin, case)
    prediction = weakref.ref(case[0])
    del case
    gc.collect()
    require(prediction() is None, "keeps predictions alive.")


def _judge(plugin: Any, case: Case) -> Any:
    return plugin.record(*case) if hasattr(plugin, "record") else plugin.classify(*case)


@promise("error classifier")
def declared_categories(subject: Subject) -> None:
    """It returns error labels, only of the categories that its spec declares, for any answer; twice the same."""
    declared = set(subject.spec.categories)
    if not subject.spec.default:
        raise NotApplicable("its categories are named by its settings")
    require(bool(declared), "declares no categories.")
    for task in (tiny_questions(), tiny_labels()):
        for case in (*gold(task), *wrong(task), *odd(task), answer(task, task.test[0], "", finish="error")):
            found = subject.create().classify(*case)
            require(
                isinstance(found, Sequence) and all(isinstance(label, ErrorLabel) for label in found),
                f"returns {found!r}, not a list of ErrorLabel.",
            )
            stray = [label.category for label in found if label.category not in declared]
            require(not stray, f"finds the category '{stray and stray[0]}', which its spec does not declare.")
            json.dumps([[label.category, label.evidence] for label in found])


@promise("error classifier")
def order_irrelevant_for_categories(subject: Subject) -> None:
    """Categories do not depend on what was judged before."""
    task = tiny_questions()
    cases = [*gold(task), *wrong(task), *odd(task)]
    one, two = subject.create(), subject.create()
    forward = [list(one.classify(*case)) for case in cases]
    backward = [list(two.classify(*case)) for case in cases[::-1]][::-1]
    require(forward == backward, "judges an answer by what was judged before it.")
