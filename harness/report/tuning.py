"""Sweeps and learning curves as plain cells and sentences, for every kind of report."""

from __future__ import annotations

from harness.analysis.result import ArmResult, Comparison, Interval, LearningCurve, Search
from harness.report import text
from harness.report.columns import Column, Group, two_lines


def tuning(comparison: Comparison) -> Group:
    """Candidates, what was chosen, its validation score and the spread; nothing where no arm had a sweep."""
    arms = comparison.arms
    searches = [arm.search for arm in arms]
    if not any(searches):
        return []
    metric = next(search.metric for search in searches if search is not None)
    return [
        Column("candidates", tuple(_candidates(search) for search in searches)),
        Column("chosen", tuple(_chosen(arm) for arm in arms), left=True),
        Column(f"validation\n{text.one_line(metric)}", tuple(text.score(s.chosen if s else None) for s in searches)),
        Column("over\ncandidates", tuple(_spread(search) for search in searches)),
    ]


def _candidates(search: Search | None) -> str:
    if search is None:
        return "1"
    return f"{search.candidates}" + (f" ({search.failed} failed)" if search.failed else "")


def _chosen(arm: ArmResult) -> str:
    if arm.search is None:
        return "as written"
    if not arm.search.settings:
        return text.UNKNOWN
    return "\n".join(f"{text.one_line(key)} = {text.one_line(value)}" for key, value in arm.search.settings.items())


def _spread(search: Search | None) -> str:
    if search is None or search.low is None:
        return text.UNKNOWN
    return f"{text.score(search.low)} to {text.score(search.high)}"


def tuning_legend(comparison: Comparison) -> list[str]:
    """How the choice was made, and what its score is not."""
    found = [arm.search for arm in comparison.arms if arm.search is not None]
    if not found:
        return []
    return [
        f"chosen with one seed on {found[0].n:,} validation examples, never on the test",
        "the best of several validation scores is too high as an estimate",
    ]


# ------------------------------------------------------------------------------------------- learning curves


def curves(comparison: Comparison) -> tuple[Column, Group]:
    """A first column of arms, and one row a point: examples, score, interval."""
    rows = [(curve, point) for curve in comparison.curves for point in curve.points]
    names = [curve.arm if point is curve.points[0] else "" for curve, point in rows]
    if not rows:
        return Column("arm", ()), []
    return Column("arm", tuple(map(text.one_line, names)), left=True), [
        Column("training\nexamples", tuple(f"{point.size:,}" for _, point in rows)),
        Column(two_lines(comparison.primary_metric), tuple(text.score(point.score.value) for _, point in rows)),
        Column("95 %\ninterval", tuple(text.interval(p.score.low, p.score.high, digits=2) for _, p in rows)),
    ]


def curve_sentences(comparison: Comparison) -> list[str]:
    """What twice the data would bring, for each arm, or why that is not known."""
    found = [_sentence(curve) for curve in comparison.curves]
    if any(curve.fit is not None for curve in comparison.curves):
        found.append(
            "One seed and one order of examples; the estimates reach beyond what was measured and are the less certain "
            "for it."
        )
    return found


def _sentence(curve: LearningCurve) -> str:
    arm = text.one_line(curve.arm)
    if curve.fit is None or curve.doubled is None or curve.gain is None:
        return f"{arm}: no fit, because {text.one_line(curve.note)}."
    doubled = f"{text.score(curve.doubled.value)} {_brackets(curve.doubled)}".strip()
    gain = f"{text.score(curve.gain.value, signed=True)} {_brackets(curve.gain)}".strip()
    size = f"{curve.doubled_size:,} examples, twice the data"
    return f"{arm}: with {size}, about {doubled}; a gain of {gain}. {_form(curve)}"


def _brackets(interval: Interval) -> str:
    return text.interval(interval.low, interval.high)


def _form(curve: LearningCurve) -> str:
    fit = curve.fit
    if fit is None:
        return ""
    if fit.form == "log":
        return f"Fit: {fit.a:.3g} {_signed(fit.b)} · ln n."
    return f"Fit: {fit.a:.3g} {_signed(-fit.b)} · n^−{fit.c:.2g}."


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'} {abs(value):.3g}"
