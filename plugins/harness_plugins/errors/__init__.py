"""The built-in error classifiers, as specs only: nothing is imported until one is used."""

from __future__ import annotations

from harness.hookspecs import ErrorClassifierSpec

_AT = "harness_plugins.errors"

SPECS = [
    ErrorClassifierSpec(
        "surface",
        "What can be read off the answer: right, wrong, empty, looping, cut off, too long, out of form.",
        f"{_AT}.surface:Surface",
        version="5",
        categories=(
            "harness_error",
            "no_reference",
            "correct",
            "overflow",
            "empty",
            "repetitive",
            "copied_prompt",
            "refusal",
            "truncated",
            "off_label",
            "missing_part",
            "numeric",
            "partially_correct",
            "wrong_answer",
            "verbose",
            "format",
        ),
    ),
    ErrorClassifierSpec(
        "grounding",
        "Whether a wrong answer with passages is the search's fault or the model's.",
        f"{_AT}.grounding:Grounding",
        version="4",
        categories=("retrieval_miss", "unsupported"),
    ),
    ErrorClassifierSpec(
        "spelling",
        "Misspelt words, by a dictionary and the task's own texts.",
        f"{_AT}.spelling:Spelling",
        version="5",
        categories=("misspelled",),
    ),
    ErrorClassifierSpec(
        "language",
        "Answers in another language than the task.",
        f"{_AT}.language:Language",
        version="4",
        categories=("wrong_language",),
    ),
    ErrorClassifierSpec(
        "pattern", "A category of your own, found by a pattern.", "harness_plugins.own:Pattern", default=False
    ),
    ErrorClassifierSpec(
        "python", "A category of your own, found by a function.", "harness_plugins.own:PythonCategory", default=False
    ),
]
