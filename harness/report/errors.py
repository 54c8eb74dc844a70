"""The error analysis of a run, for `harness errors`: one report, as tables for people or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from harness import taxonomy
from harness.analysis.errors import (
    BUILT_IN_SLICES,
    CORRECT,
    Answer,
    Count,
    Transition,
    category_counts,
    share_of,
    slices,
    transition,
    typical,
)
from harness.analysis.result import Interval
from harness.criteria import own_categories
from harness.exceptions import HarnessError, nearest
from harness.report import text

if TYPE_CHECKING:
    from rich.console import Console

    from harness.store.errors import RunErrors

MOST_CHARACTERS = 300
MOST_MOVES = 12


@dataclass(frozen=True)
class Question:
    """What is asked of a run's errors; `by`: slices besides those of the experiment file."""

    arm: str | None = None
    category: str | None = None
    by: tuple[str, ...] = ()
    count: int = 5


@dataclass(frozen=True)
class Example:
    arm: str
    item: str
    input: str
    gold: tuple[str, ...]
    answer: str
    evidence: str
    also: tuple[str, ...]


@dataclass(frozen=True)
class ErrorReport:
    """`counts` by arm; `correct[slice][value][arm]`: share of correct answers; `transitions` by arm; `examples` of the
    category that was asked for."""

    run: str
    name: str
    baseline: str
    counts: Mapping[str, Sequence[Count]]
    correct: Mapping[str, Mapping[str, Mapping[str, Interval]]]
    transitions: Mapping[str, Transition]
    arm: str | None = None
    category: str | None = None
    examples: Sequence[Example] = ()
    categories: Mapping[str, taxonomy.Category] = field(default_factory=dict)


def error_report(found: RunErrors, question: Question) -> ErrorReport:
    """Raises HarnessError with the nearest name for an arm, category or slice that is not there."""
    run, answers = found.run, found.answers
    own = own_categories(dict(run.config_resolved))
    if question.arm is not None and question.arm not in answers:
        raise HarnessError(
            f"arm '{question.arm}' has no answers in run {run.id} ({run.name}).", hint=nearest(question.arm, answers)
        )
    wanted = {question.arm: answers[question.arm]} if question.arm else answers
    counts = {arm: category_counts(of_arm.values()) for arm, of_arm in wanted.items()}
    seen = {count.category for each in counts.values() for count in each}
    if question.category is not None and question.category not in seen:
        known = question.category in taxonomy.ORDER or question.category in own
        hint = "" if known else nearest(question.category, seen)
        raise HarnessError(f"no answer is in the category '{question.category}'.", hint=hint)
    settings = run.config_resolved.get("slices") or {}
    by = dict.fromkeys([*settings.get("by", ()), *question.by])
    base = answers.get(run.baseline, {})
    return ErrorReport(
        run=run.id,
        name=run.name,
        baseline=run.baseline,
        counts=counts,
        correct={name: _by_slice(found, name, wanted) for name in by},
        transitions={arm: transition(base, of_arm) for arm, of_arm in wanted.items() if base and arm != run.baseline},
        arm=question.arm,
        category=question.category,
        examples=_examples(found, wanted, question) if question.category else (),
        categories={name: own.get(name) or taxonomy.category(name) for name in seen if name in {*own, *taxonomy.ORDER}},
    )


def _by_slice(found: RunErrors, by: str, wanted: Mapping[str, Mapping[str, Answer]]) -> dict[str, dict[str, Interval]]:
    items = list(found.items.values())
    fields = set().union(*(item.fields for item in items)) if items else set()
    if by not in fields and by not in BUILT_IN_SLICES:
        raise HarnessError(
            f"items of run {found.run.id} have no field '{by}'.", hint=nearest(by, {*fields, *BUILT_IN_SLICES})
        )
    return {
        value: {arm: _correct([of_arm[item] for item in ids if item in of_arm]) for arm, of_arm in wanted.items()}
        for value, ids in slices(by, items).items()
    }


def _correct(answers: Sequence[Answer]) -> Interval:
    return share_of(sum(answer.primary == CORRECT for answer in answers), len(answers))


def _examples(found: RunErrors, wanted: Mapping[str, Mapping[str, Answer]], question: Question) -> list[Example]:
    """Answers whose primary category it is, where there are any, else those that have it beside another."""
    examples: list[Example] = []
    for arm, answers in wanted.items():
        members = {item: a.text for item, a in answers.items() if a.primary == question.category} or {
            item: a.text for item, a in answers.items() if question.category in [label.category for label in a.labels]
        }
        for item in typical(members, question.count):
            answer, facts = answers[item], found.items[item]
            why = [label.evidence for label in answer.labels if label.category == question.category]
            also = tuple(label.category for label in answer.labels if label.category != question.category)
            examples.append(Example(arm, item, facts.input, facts.gold, answer.text, "; ".join(why), also))
    return examples


# ---------------------------------------------------------------------------------------------------- output


def to_json_text(report: ErrorReport) -> str:
    """ASCII; unknown is null. A transition's matrix is a list of [before, after, items]."""
    data: dict[str, Any] = asdict(report)
    for moves in data["transitions"].values():
        moves["matrix"] = [[before, after, count] for (before, after), count in moves["matrix"].items()]
    return json.dumps(data, indent=2, allow_nan=False)


def render(report: ErrorReport, console: Console) -> None:
    """Prints the report. Text of data and models is printed as plain text, control characters removed."""
    from rich.text import Text

    console.print(Text(f"{text.one_line(report.name)} · run {report.run}", style="bold"))
    if report.category is not None:
        _meaning(report, report.category, console)
        for example in report.examples:
            _example(example, console)
        return
    _counts(report, console)
    _transitions(report, console)
    for by, values in report.correct.items():
        rows = [[text.one_line(value), *(_share(cell) for cell in cells.values())] for value, cells in values.items()]
        _table(f"Correct by {text.one_line(by)}", [by, *report.counts], rows, console)


def _meaning(report: ErrorReport, name: str, console: Console) -> None:
    from rich.text import Text

    known = report.categories.get(name)
    if known is not None:
        blame = f"{text.one_line(name)} (severity {known.severity}, blames the {known.blame}): {known.meaning}"
        console.print(Text(text.one_line(blame)))
        if known.remedy:
            console.print(Text(text.one_line(f"What to try: {known.remedy}"), style="dim"))


def _counts(report: ErrorReport, console: Console) -> None:
    if report.arm is not None:
        rows = []
        for count in report.counts[report.arm]:
            known = report.categories.get(count.category)
            rest = [str(known.severity), known.remedy] if known else ["", ""]
            name = text.one_line(count.category)
            rows.append([name, str(count.count), _share(count.share), str(count.any), *map(text.one_line, rest)])
        heads = ["category", "answers", "share", "with others", "severity", "what to try"]
        _table(f"Errors of {text.one_line(report.arm)}", heads, rows, console)
        return
    names = dict.fromkeys(count.category for counts in report.counts.values() for count in counts if count.count)
    by_arm = {arm: {count.category: count for count in counts} for arm, counts in report.counts.items()}
    rows = [
        [text.one_line(name)]
        + [f"{known[name].count} ({_percent(known[name].share.value)})" if name in known else "0"
           for known in by_arm.values()]
        for name in names
    ]  # fmt: skip
    _table("Answers by primary category", ["category", *report.counts], rows, console)


def _transitions(report: ErrorReport, console: Console) -> None:
    rows = [
        [text.one_line(arm), str(len(moves.fixed)), str(len(moves.broke)), str(moves.both_right), str(moves.both_wrong)]
        for arm, moves in report.transitions.items()
    ]
    base = text.one_line(report.baseline)
    _table(f"Against {base}, item by item", ["arm", "fixed", "broke", "both right", "both wrong"], rows, console)
    if report.arm is not None and report.arm in report.transitions:
        moves = report.transitions[report.arm].matrix
        changed = [[b, a, str(n)] for (b, a), n in moves.items() if b != a][:MOST_MOVES]
        heads = [f"{base} said", f"{text.one_line(report.arm)} says", "items"]
        _table("What became what", heads, changed, console)


def _example(example: Example, console: Console) -> None:
    from rich.text import Text

    head = f"── {example.arm} · item {example.item}" + (f" · also {', '.join(example.also)}" if example.also else "")
    console.print()
    console.print(Text(text.one_line(head), style="bold"))
    gold = " | ".join(example.gold) or "none"
    facts = (("input", example.input), ("gold", gold), ("answer", example.answer), ("why", example.evidence))
    for name, value in facts:
        line = text.one_line(value)
        shown = line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]} … ({len(line):,} characters)"
        console.print(Text(f"   {name:7}{shown or '(empty)'}"), soft_wrap=True)


def _share(share: Interval) -> str:
    if share.value is None:
        return text.UNKNOWN
    return f"{_percent(share.value)} {text.interval(share.low, share.high, digits=2)}"


def _percent(value: float | None) -> str:
    return text.UNKNOWN if value is None else f"{value:.0%}"


def _table(heading: str, heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for number, head in enumerate(heads):
        left = number == 0 or head == "what to try" or (heading == "What became what" and number == 1)
        grid.add_column(Text(text.one_line(head)), justify="left" if left else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(text.one_line(cell)) for cell in row))
    console.print()
    console.print(Text(heading, style="bold underline"))
    console.print(grid)
