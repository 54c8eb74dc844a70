"""Fits the linear classifier that reads labels from hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.exceptions import DataError
from harness.models.features import Features, LinearClassifier
from harness.training.settings import ClassifierSettings

#: Penalties tried on validation examples, and the one taken without any.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DEFAULT = 1e-2


@dataclass(frozen=True)
class FittedClassifier:
    """`c`: the penalty's inverse that was taken. `validation_losses`: mean -ln p(label) by c, in the order tried."""

    classifier: LinearClassifier
    c: float
    validation_losses: tuple[tuple[float, float], ...] = ()


def fit_classifier(
    train: tuple[Features, Sequence[str]],
    validation: tuple[Features, Sequence[str]],
    labels: Sequence[str],
    settings: ClassifierSettings,
) -> FittedClassifier:
    """Multinomial logistic regression (scikit-learn, L2) on standardised features, the standardisation folded into the
    weights. `labels` fixes their order; a label that no training example has is left out."""
    strange = sorted(set(train[1]) - set(labels))
    if strange:
        raise DataError(f"training answers that are not among the labels: {', '.join(strange[:5])}.")
    present = [label for label in labels if label in set(train[1])]
    if len(present) < 2:
        raise DataError("a classifier needs training examples of at least two labels.")
    known = [index for index, label in enumerate(validation[1]) if label in present]
    places = [present.index(validation[1][index]) for index in known]
    candidates = [settings.c] if settings.c is not None else list(GRID) if known else [DEFAULT]
    best: tuple[float, float, LinearClassifier] | None = None
    losses = []
    for c in candidates:
        classifier = _fit(train, present, c)
        loss = 0.0
        if known:
            found = classifier.log_probabilities(validation[0][known])
            loss = -float(found[np.arange(len(known)), places].mean())
            losses.append((c, loss))
        if best is None or loss < best[0]:
            best = loss, c, classifier
    assert best is not None
    return FittedClassifier(best[2], best[1], tuple(losses))


def _fit(train: tuple[Features, Sequence[str]], labels: Sequence[str], c: float) -> LinearClassifier:
    from sklearn.linear_model import LogisticRegression

    features = train[0].astype(np.float64)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale == 0] = 1.0
    targets = [labels.index(label) for label in train[1]]
    model = LogisticRegression(C=c, max_iter=1000).fit((features - mean) / scale, targets)
    weight, bias = model.coef_, model.intercept_
    if len(labels) == 2:  # scikit-learn keeps one row, the second label's log-odds
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    weight = weight / scale
    return LinearClassifier(tuple(labels), np.ascontiguousarray(weight), np.ascontiguousarray(bias - weight @ mean))
