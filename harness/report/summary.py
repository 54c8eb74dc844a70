"""The sentences around the tables: title, verdict, provenance, next commands. Plain text, made harmless."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from harness.analysis.result import Comparison, Interval
from harness.report import text

DEFAULT_RESULTS = "results/harness.db"
SHOWN_VERSIONS = ("adaptation-harness", "torch", "transformers", "peft")
MOST_LINES = 8


def title(comparison: Comparison) -> tuple[str, list[str]]:
    """Name of the run, and what was compared on what."""
    run = comparison.run
    model, task = _mapping(run.get("model")), _mapping(run.get("task"))
    items = task.get("test") or max((arm.n for arm in comparison.arms), default=0)
    arms = len(comparison.arms)
    number_format = " on ".join(text.one_line(model[key]) for key in ("dtype", "device") if model.get(key))
    parts = [
        text.one_line(model.get("label") or model.get("ref") or ""),
        number_format,
        text.one_line(task.get("loader") or task.get("name") or ""),
        f"{items:,} test items" if isinstance(items, int) else "",
        f"{arms} {'arm' if arms == 1 else 'arms'}",
    ]
    return text.one_line(run.get("name") or "comparison"), [part for part in parts if part]


def headline(comparison: Comparison) -> str:
    """The outcome in plain words."""
    verdict = comparison.verdict
    arm = text.one_line(verdict.arm or "")
    if verdict.outcome == "win" and arm:
        return f"Choose {arm}: it is the best arm."
    if verdict.outcome == "tie" and arm:
        others = [text.one_line(name) for name in verdict.tied if name != verdict.arm]
        return f"Choose {arm}: as good as {_list(others)}, and the cheapest." if others else f"Choose {arm}."
    leader = f" {text.one_line(verdict.leader)} leads." if verdict.leader and len(comparison.arms) > 1 else ""
    if sum(arm.status == "done" for arm in comparison.arms) < 2:
        return "No choice: there is nothing to compare."
    return f"No choice yet: the evidence is insufficient.{leader}"


def figures(comparison: Comparison) -> str:
    """Scores of the chosen (or leading) arm and of the baseline, with intervals."""
    shown = comparison.verdict.arm or comparison.verdict.leader
    wanted = dict.fromkeys(name for name in (shown, comparison.baseline) if name)
    arms = {arm.name: arm for arm in comparison.arms}
    parts = []
    for name in wanted:
        value = arms[name].metrics.get(comparison.primary_metric, Interval(None)) if name in arms else Interval(None)
        if value.value is not None:
            role = " (baseline)" if name == comparison.baseline else ""
            parts.append(
                f"{text.one_line(name)}{role} {text.score(value.value)} {text.interval(value.low, value.high)}"
            )
    return f"{text.one_line(comparison.primary_metric)}: {'; '.join(parts).strip()}" if parts else ""


def reasons(comparison: Comparison) -> tuple[list[str], list[str]]:
    """The deciding sentences, and the steps that led to them."""
    every = [text.one_line(reason) for reason in comparison.verdict.reasons]
    deciding = 1 if comparison.verdict.outcome == "win" else 2
    return every[-deciding:], every[:-deciding]


def failures(comparison: Comparison) -> list[str]:
    return [
        f"{text.one_line(arm.name)} {text.one_line(arm.status)}: {_first_line(arm.error)}"
        for arm in comparison.arms
        if arm.error
    ]


def warnings(comparison: Comparison) -> list[str]:
    """The analysis's, then the arms' notes, then the data's."""
    found = [text.one_line(warning) for warning in comparison.warnings]
    found += [f"{text.one_line(arm.name)}: {text.one_line(note)}" for arm in comparison.arms for note in arm.notes]
    found += [text.one_line(warning) for warning in _mapping(comparison.run.get("task")).get("warnings") or ()]
    return list(dict.fromkeys(found))


#: Fewer requests a month than this cost nothing that a decision could turn on.
NOTICEABLE_REQUESTS = 100


def break_evens(comparison: Comparison) -> list[str]:
    """Where the chosen arm, or the leading one, costs as much as another; volumes that nobody would notice are left
    out."""
    chosen = comparison.verdict.arm or comparison.verdict.leader
    return [
        f"Below {text.count(even.requests_per_month)} requests a month {text.one_line(even.below)} is cheaper, "
        f"above it {text.one_line(even.above)}."
        for even in comparison.break_even
        if chosen in (None, even.below, even.above) and even.requests_per_month >= NOTICEABLE_REQUESTS
    ]


def detectable(comparison: Comparison) -> str:
    if comparison.detectable_difference is None:
        return ""
    return f"With these items a difference of {text.score(comparison.detectable_difference)} could have been found."


def provenance(comparison: Comparison) -> list[str]:
    """What is needed to find and repeat the run."""
    run = comparison.run
    model, versions = _mapping(run.get("model")), _mapping(run.get("versions"))
    lines = [f"run {text.one_line(run['id'])}" if run.get("id") else ""]
    if seeds := run.get("seeds"):
        lines.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    lines.append(f"model {text.one_line(model['digest'])[:12]}" if model.get("digest") else "")
    lines += [f"{name} {text.one_line(versions[name])}" for name in SHOWN_VERSIONS if versions.get(name)]
    if machine := _mapping(run.get("machine")):
        cores = f", {machine['cores']} cores" if machine.get("cores") else ""
        lines.append(text.one_line(machine.get("processor") or machine.get("machine") or "") + cores)
    lines.append(f"results {text.one_line(run['results'])}" if run.get("results") else "")
    return [line for line in lines if line.strip(", ")]


def commands(comparison: Comparison) -> list[tuple[str, str]]:
    """(command, what it does): the next things to try."""
    run = comparison.run
    results = str(run.get("results") or DEFAULT_RESULTS)
    tail = "" if results == DEFAULT_RESULTS else f" --results {shlex.quote(text.one_line(results))}"
    ref = f" {shlex.quote(text.one_line(run['id']))}" if run.get("id") else ""
    arms = [arm.name for arm in comparison.arms if arm.status == "done"]
    arm = comparison.verdict.arm or comparison.verdict.leader or (arms[0] if arms else "")
    found = []
    if arm:
        found.append((f"harness show{ref} {shlex.quote(text.one_line(arm))} ITEM{tail}", "one answer in full"))
        found.append((f"harness errors{ref}{tail}", "what went wrong, by category"))
    page = f"harness report{ref} --format html -o report.html{tail}"
    found += [
        (page, "one page with plots and every answer"),
        (f"harness report{ref} --json{tail}", "this report as data"),
    ]
    return found


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _first_line(message: str | None) -> str:
    lines = [line.strip() for line in text.safe(message or "").splitlines() if line.strip()]
    return lines[0] if lines else "no message"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
