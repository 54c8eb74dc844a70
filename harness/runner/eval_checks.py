"""Tests the evals before any strategy runs: what do the metrics say of the gold itself, and of answers without worth?

A metric is trusted when the gold scores perfectly and empty, majority, copied-input and shuffled-gold answers do not;
their scores also stand beside the arms in the report, so that "0.62" can be read against "majority 0.60".
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.config import Experiment
from harness.exceptions import ConfigError, Problem
from harness.runner.evaluate import Evaluator, Judge
from harness.runner.late import wanted
from harness.types import Example, Prediction, Record

MOST_ITEMS = 1000  # evenly spread; the test answers a yes-or-no question, which more items would not change
GOLD = "gold"
UNTESTED = "is not tested here: it is measured on the model, when its answers are there."
TRIVIAL = ("empty", "majority", "copied input", "shuffled gold")


@dataclass(frozen=True)
class EvalCheck:
    """One metric on the gold and on trivial answers. `scores` by kind of answer, None where it cannot be computed;
    `fatal`: it cannot tell the gold from a trivial answer, `warnings`: what else to know, `skipped`: why it was not
    tested. Sentences that go on after the metric's name."""

    metric: str
    scores: Mapping[str, float | None]
    fatal: str = ""
    warnings: tuple[str, ...] = ()
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_evals(experiment: Experiment, evaluator: Evaluator) -> list[EvalCheck]:
    """Every metric of an experiment on answers that need no model."""
    every = [example for example in evaluator.task.test if example.references]
    examples = every[:: -(-len(every) // MOST_ITEMS)] if every else []
    if not examples:
        return []
    answers = _answers(evaluator, examples)
    checks = []
    for judge in evaluator.metrics:
        if getattr(judge.spec, "measures", ""):
            wanted(judge)  # settings that cannot be measured are refused here, before anything runs
            checks.append(EvalCheck(judge.id, {}, skipped=UNTESTED))
            continue
        records = {kind: evaluator.score(made, judge) for kind, made in answers.items()}
        checks.append(_judged(experiment, evaluator, judge, records))
    return checks


def stop_if_blind(checks: Iterable[EvalCheck], source: str) -> None:
    """Raises ConfigError where the deciding metric cannot tell the gold from a trivial answer."""
    problems = [
        Problem(
            check.fatal,
            key=f"metric '{check.metric}'",
            hint="Name another primary_metric, or look at the gold: `harness check FILE` prints this table.",
        )
        for check in checks
        if check.fatal
    ]
    if problems:
        raise ConfigError(problems, source=f"{source}: the evals")


def warnings_of(checks: Iterable[EvalCheck]) -> list[str]:
    """What a report should say about the metrics themselves."""
    return [f"{check.metric} {warning}" for check in checks for warning in (check.fatal, *check.warnings) if warning]


# --------------------------------------------------------------------------------------------------- the answers


def _answers(evaluator: Evaluator, examples: Sequence[Example]) -> dict[str, list[Prediction]]:
    task = evaluator.task
    golds = [example.references[0] for example in examples]
    known = [example.references[0] for example in (*task.train, *task.validation) if example.references] or golds
    # most_common keeps the order of first sight among equals: the same answer in every process.
    majority = Counter(known).most_common(1)[0][0]
    texts: dict[str, Callable[[int], str]] = {
        GOLD: lambda place: golds[place],
        "empty": lambda place: "",
        "majority": lambda place: majority,
        "copied input": lambda place: task.inputs.get(examples[place].id, ""),
        "shuffled gold": _shuffled(golds).__getitem__,
    }
    stops = evaluator.criteria.generation.stop if task.readout == "generate" else []
    return {
        kind: [_prediction(evaluator, example, text(place), stops) for place, example in enumerate(examples)]
        for kind, text in texts.items()
    }


def _shuffled(golds: Sequence[str]) -> list[str]:
    """The same answers on other items: each goes to its neighbour in a random circle, so none stays (unless alone)."""
    circle = list(range(len(golds)))
    random.Random(0).shuffle(circle)
    moved = list(golds)
    for here, there in zip(circle, [*circle[1:], circle[0]], strict=True):
        moved[there] = golds[here]
    return moved


def _prediction(evaluator: Evaluator, example: Example, text: str, stops: Sequence[str]) -> Prediction:
    """The text as it would come out of the readout: cut at a stop string, without surrounding space."""
    labels = evaluator.task.labels
    for stop in stops:
        text = text.split(stop, 1)[0] if stop else text
    choice = evaluator.task.readout == "choose"
    scores = {label: 0.0 if label == text or text not in labels else -1000.0 for label in labels} if choice else None
    finish = "choice" if choice else "stop"
    return Prediction(example.id, "", text, text.strip(), finish, 0, 0, label_scores=scores)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------- the judgement


def _judged(
    experiment: Experiment, evaluator: Evaluator, judge: Judge, records: Mapping[str, Mapping[str, Record]]
) -> EvalCheck:
    primary = judge.id == experiment.primary_metric
    scores = {kind: judge.plugin.aggregate(list(found.values())) for kind, found in records.items()}
    sign = 1.0 if judge.spec.higher_is_better else -1.0
    gold = scores[GOLD]
    if gold is None:
        why = next((str(r["reason"]) for r in records[GOLD].values() if r.get("reason")), "it gives no value")
        sentence = f"cannot be computed on the gold answers: {why}."
        return EvalCheck(judge.id, scores, sentence if primary else "", () if primary else (sentence,))
    warnings = []
    best = judge.spec.high if sign > 0 else judge.spec.low
    if best is not None and abs(gold - best) > 1e-6:
        warnings.append(f"gives the gold answers {gold:.3f}, not {best:g}{_first_failure(evaluator, records[GOLD])}.")
    trivial = {kind: sign * (gold - score) for kind in TRIVIAL if (score := scores[kind]) is not None}
    nearest = min(trivial, key=lambda kind: trivial[kind], default=None)
    fatal = ""
    if primary and nearest is not None:
        if trivial[nearest] <= 0:
            fatal = f"cannot tell the gold answers ({gold:.3f}) from trivial ones ({nearest}: {scores[nearest]:.3f})."
        elif trivial[nearest] < experiment.decision.margin:
            warnings.append(f"leaves less than the margin between the gold answers and '{nearest}': no arm can win.")
    elif trivial and max(trivial.values()) <= 0:
        warnings.append("gives no trivial answer less than the gold: it says nothing about right and wrong.")
    return EvalCheck(judge.id, scores, fatal, tuple(warnings))


def _first_failure(evaluator: Evaluator, records: Mapping[str, Record]) -> str:
    """The first gold answer that does not score 1, and whether a stop string is the reason."""
    for item, record in records.items():
        value = record.get("value")
        if isinstance(value, int | float) and value != 1:
            stops = evaluator.criteria.generation.stop if evaluator.task.readout == "generate" else []
            reference = evaluator.examples[item].references[0]
            cut = next((stop for stop in stops if stop and stop in reference.strip()), None)
            why = f", which contains the stop string {cut!r}" if cut is not None else ""
            return f" (first: item '{item}'{why})"
    return ""
