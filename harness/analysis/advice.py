"""What the data themselves suggest doing next. Plain rules with their figures; no score."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.result import ArmResult
from harness.analysis.rows import RunRows

FORM = ("format", "verbose", "repetitive", "truncated", "empty")
LOW_RECALL = 0.8
FEW_EXAMPLES = 100  # fine-tuning services ask for 50 to 100 at the least


def advise(arms: Sequence[ArmResult], rows: RunRows) -> tuple[str, ...]:
    """Sentences, most consequential first; none where the data suggest nothing."""
    done = [arm for arm in arms if arm.status == "done"]
    found: list[str] = []
    recalls = [arm for arm in done if arm.retrieval_recall is not None and arm.retrieval_recall.high is not None]
    weak = [a for a in recalls if a.retrieval_recall and (a.retrieval_recall.high or 0) < LOW_RECALL]
    if weak:
        share = weak[0].retrieval_recall.value if weak[0].retrieval_recall else None
        found.append(
            f"Retrieval finds the right document for {share:.0%} of items in {weak[0].name}: better documents or "
            "another retriever come before any tuning."
        )
    baseline = next((arm for arm in done if arm.name == rows.baseline), None)
    if baseline is not None:
        found += _gap(baseline, has_retrieval=bool(recalls))
    examples = (rows.run.get("task") or {}).get("train")
    if isinstance(examples, int) and examples < FEW_EXAMPLES and any(arm.loss is not None for arm in done):
        found.append(
            f"Only {examples} training examples: little for tuning to learn from ({FEW_EXAMPLES} is a usual start); "
            "more of them, or shots in the prompt, come first."
        )
    for arm in done:
        if arm.loss is not None and arm.loss[1] >= arm.loss[0]:
            found.append(
                f"The training loss of {arm.name} did not fall: its learning rate, prompts or data need a look."
            )
    if rows.decision.refreshes_per_month >= 1 and any(arm.loss is not None for arm in done):
        found.append(
            f"Facts change ({rows.decision.refreshes_per_month:g} refreshes a month): what is trained in must be "
            "trained again each time, what is retrieved only indexed again."
        )
    return tuple(found)


def _gap(baseline: ArmResult, has_retrieval: bool) -> list[str]:
    total = sum(baseline.errors.values())
    wrong = total - baseline.errors.get("correct", 0)
    if total < 10 or wrong < 0.1 * total:
        return []
    form = sum(baseline.errors.get(category, 0) for category in FORM)
    if form > 0.5 * wrong:
        return [
            f"{form} of {wrong} errors of {baseline.name} are of form, not of content: a behaviour gap, which "
            "examples in the prompt, constrained answers or tuning close."
        ]
    content = baseline.errors.get("wrong_answer", 0) + baseline.errors.get("wrong answer", 0)
    if content > 0.5 * wrong and has_retrieval:
        return [
            f"{content} of {wrong} errors of {baseline.name} are wrong facts: a knowledge gap, which retrieval closes."
        ]
    return []
