"""Brevity: a metric and an error classifier in one package. Only specs live here."""

from __future__ import annotations

from harness import ErrorClassifierSpec, MetricSpec, hookimpl

HARNESS_INTERFACE = 1


@hookimpl
def harness_metrics():
    return [MetricSpec("brevity", "Length of the reference over the answer's, at most 1.", "brevity.evals:Brevity")]


@hookimpl
def harness_error_classifiers():
    summary = "Answers that are much longer than the reference."
    return [ErrorClassifierSpec("brevity", summary, "brevity.evals:Longwinded", categories=("longwinded",))]
