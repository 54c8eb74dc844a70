"""`harness check FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import limit_option, local_code, local_code_option, say

if TYPE_CHECKING:
    from harness.runner.eval_checks import EvalCheck


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@limit_option
@local_code_option
def command(file: Path, limit: int | None, no_local_code: bool) -> None:
    """Validate FILE: settings, plugins, data and model files. Loads no model and writes nothing."""
    from harness.runner.benchmarks import Benchmarks
    from harness.runner.eval_checks import check_evals, stop_if_blind, warnings_of
    from harness.runner.evaluate import Evaluator
    from harness.runner.prepare import prepare
    from harness.runner.tuning import curve_arms, curve_sizes, planned_candidates

    code = local_code(file, no_local_code)
    found = prepare(file, limit=limit, code=code)
    experiment, task, plan = found.experiment, found.task, found.plan
    say(f"{file}: fine")
    say(f"  model   {found.source.label}, {plan.dtype} on {plan.device}")
    splits = f"{len(task.train)} train, {len(task.validation)} validation, {len(task.test)} test"
    labels = f", {len(task.labels)} labels" if task.labels else ""
    corpus = f", {len(task.corpus):,} documents" if task.corpus else ""
    say(f"  task    {experiment.loader.use}: {splits}{labels}{corpus}")
    say(f"  metrics {', '.join(use.id for use in experiment.metrics)}; decides: {experiment.primary_metric}")
    say(f"  arms    {len(experiment.arms)} arms, {len(plan.trials)} trials")
    candidates = planned_candidates(experiment)
    for arm in experiment.arms:
        seeds = [trial.seed for trial in plan.trials if trial.arm == arm.name]
        mark = " (baseline)" if arm.name == experiment.baseline else ""
        count = candidates[arm.name]
        tried = f", {count} candidates" if count > 1 else ""
        say(f"    {arm.name}{mark}: {' → '.join(use.id for use in arm.chain)}, seeds {seeds}{tried}")
    if any(count > 1 for count in candidates.values()):
        say(f"  budget  {experiment.budget.search} search; arms without a sweep run one candidate, as written")
    if experiment.learning_curve is not None:
        arms = ", ".join(arm.name for arm in curve_arms(experiment, found.registry))
        say(f"  curve   {arms}: {', '.join(map(str, curve_sizes(experiment, task)))} training examples")
    if experiment.benchmark is not None:
        tasks = Benchmarks(experiment, found.registry).keys
        say(f"  benchmarks {experiment.benchmark.use}: {', '.join(list(tasks)[:8])}" + _more(len(tasks) - 8))
    for name, sha256 in found.local.items():
        say(f"  plugin  {name}, sha256 {sha256[:12]}: code of your own, run on this machine")
    checks = check_evals(experiment, Evaluator(experiment, task, found.registry))
    _print_checks([check for check in checks if not check.skipped], experiment.primary_metric)
    for check in checks:
        if check.skipped:
            say(f"    {check.metric} {check.skipped}")
    for warning in (*task.warnings, *warnings_of(checks)):
        say(f"  warning: {warning}")
    if not found.rehearsal:
        stop_if_blind(checks, str(file))


def _print_checks(checks: list[EvalCheck], primary: str) -> None:
    """What the metrics say of answers that need no model, one line a kind of answer; the deciding metric first."""
    from harness.report.text import one_line, score

    if not checks:
        return
    ordered = sorted(checks, key=lambda check: check.metric != primary)
    names = [one_line(check.metric) for check in ordered]
    say("  answers that need no model")
    say(f"    {'':13}" + "".join(f"  {name:>6}" for name in names))
    for kind in ordered[0].scores:
        cells = (
            f"  {score(check.scores[kind]):>{max(6, len(name))}}" for check, name in zip(ordered, names, strict=True)
        )
        say(f"    {kind:13}{''.join(cells)}")


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""
