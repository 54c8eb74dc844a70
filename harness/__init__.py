"""What plugin authors import. Nothing heavy is loaded: names resolve on first use."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "hookimpl": "harness.hookspecs",
    "StrategySpec": "harness.hookspecs",
    "MetricSpec": "harness.hookspecs",
    "ErrorClassifierSpec": "harness.hookspecs",
    "RetrieverSpec": "harness.hookspecs",
    "TaskLoaderSpec": "harness.hookspecs",
    "ModelSpec": "harness.hookspecs",
    "ObserverSpec": "harness.hookspecs",
    "Event": "harness.events",
    "Strategy": "harness.strategy",
    "PromptStrategy": "harness.strategy",
    "AnswerStrategy": "harness.strategy",
    "TrainingStrategy": "harness.strategy",
    "Context": "harness.strategy",
    "RenderView": "harness.strategy",
    "ReadView": "harness.strategy",
    "TaskFacts": "harness.strategy",
    "Adaptation": "harness.adaptation",
    "Step": "harness.adaptation",
    "Readout": "harness.adaptation",
    "Query": "harness.types",
    "Example": "harness.types",
    "Document": "harness.types",
    "LoadedData": "harness.types",
    "Draft": "harness.types",
    "Shot": "harness.types",
    "Passage": "harness.types",
    "Prediction": "harness.types",
    "EvalContext": "harness.types",
    "ErrorLabel": "harness.types",
    "LedgerEntry": "harness.types",
    "HarnessError": "harness.exceptions",
    "DataError": "harness.exceptions",
    "ModelError": "harness.exceptions",
    "PluginError": "harness.exceptions",
    "TrialError": "harness.exceptions",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
