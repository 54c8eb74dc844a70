"""Every arm against every other: differences with lower bounds that hold together for each arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.arrays import FloatArray, IntArray
from harness.analysis.measure import Measure
from harness.analysis.multiplicity import ONE_SIDED, correlation_of, simultaneous_lower
from harness.analysis.paired import Difference

Pair = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """Scores and differences are turned so that more is better. `lower[a, b]` bounds a minus b from below."""

    arms: tuple[str, ...]  # best score first; ties in the file's order
    scores: Mapping[str, float]
    differences: Mapping[Pair, Difference | None]
    lower: Mapping[Pair, float]

    def lowest(self, arm: str) -> float:
        """The lowest of the arm's lower bounds against the others."""
        return min((self.lower[arm, other] for other in self.arms if other != arm), default=math.inf)

    def winner(self, margin: float) -> str | None:
        """The arm that beats every other by more than the margin."""
        leader = self.arms[0] if len(self.arms) > 1 else None
        return leader if leader is not None and self.lowest(leader) > margin else None

    def within(self, margin: float) -> tuple[str, ...]:
        """Arms shown not to be worse than any other by more than the margin."""
        return tuple(arm for arm in self.arms if self.lowest(arm) >= -margin - 1e-12)

    def lead(self, arm: str, other: str) -> float:
        """The observed difference on common items; of the scores where there are none."""
        difference = self.differences[arm, other]
        return self.scores[arm] - self.scores[other] if difference is None else difference.value


def build_standing(measure: Measure, arms: Sequence[str]) -> Standing:
    """All pairs of `arms`, each of which has a score."""
    sign = 1.0 if measure.metric.higher_is_better else -1.0
    scores = {arm: sign * (measure.score(arm) or 0.0) for arm in arms}
    differences: dict[Pair, Difference | None] = {}
    for i, first in enumerate(arms):
        for second in arms[i + 1 :]:
            found = measure.difference(first, second, test=False)
            turned = found if found is None or sign > 0 else found.reversed()
            differences[first, second] = turned
            differences[second, first] = None if turned is None else turned.reversed()
    lower: dict[Pair, float] = {}
    for arm in arms:
        lower.update(_bounds(arm, [other for other in arms if other != arm], differences, measure.codes))
    order = sorted(arms, key=lambda arm: -scores[arm])
    return Standing(tuple(order), scores, differences, lower)


def _bounds(
    arm: str, others: Sequence[str], differences: Mapping[Pair, Difference | None], codes: IntArray | None
) -> dict[Pair, float]:
    known = [(other, found) for other in others if (found := differences[arm, other]) is not None]
    result = {(arm, other): -math.inf for other in others}
    if not known:
        return result
    pairs = [found for _, found in known]
    bounds, _ = simultaneous_lower(
        np.array([found.centre for found in pairs]),
        np.array([found.error for found in pairs]),
        np.array([found.df for found in pairs]),
        _correlation(pairs, codes),
        ONE_SIDED,
    )
    result.update({(arm, other): float(bound) for (other, _), bound in zip(known, bounds, strict=True)})
    return result


def _correlation(pairs: Sequence[Difference], codes: IntArray | None) -> FloatArray:
    """How the differences of one arm to the others go together. Their errors share that arm's items and seeds."""
    length = min(len(pair.deviations) for pair in pairs if pair.error > 0) if any(p.error > 0 for p in pairs) else 0
    if not length:
        return np.eye(len(pairs))
    columns = [pair.deviations[:length] if pair.error > 0 else np.zeros(length) for pair in pairs]
    if codes is not None and length == len(codes):
        columns = [np.bincount(codes, weights=column).astype(np.float64) for column in columns]
    own = max(pair.seed_variances[0] for pair in pairs)
    extra = np.full((len(pairs), len(pairs)), own) + np.diag([pair.seed_variances[1] for pair in pairs])
    return correlation_of(np.stack(columns, axis=1).astype(np.float64), extra)
