"""Criteria of the user's own: texts, patterns and functions that an experiment file names.

A function takes what it needs by name: `def judge(answer, references): …`. Which names there are stands in `FACTS`.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.exceptions import PluginError
from harness.local_code import loaded_attribute
from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.metrics.base import MeanMetric, NotComputable
from harness_plugins.metrics.structured import RegularExpression

FACTS: dict[str, Callable[[Prediction, Example, EvalContext], Any]] = {
    "answer": lambda prediction, example, context: prediction.parsed,
    "raw": lambda prediction, example, context: prediction.raw,
    "references": lambda prediction, example, context: list(example.references),
    "input": lambda prediction, example, context: context.input,
    "fields": lambda prediction, example, context: dict(example.query.fields),
    "prompt": lambda prediction, example, context: prediction.prompt,
    "passages": lambda prediction, example, context: [passage.text for passage in prediction.passages],
    "labels": lambda prediction, example, context: list(context.labels),
    "finish": lambda prediction, example, context: prediction.finish,
}
MOST_EVIDENCE = 200


class OwnFunction:
    """A function of the user's own, looked up when it is first called: reading results again runs no code."""

    def __init__(self, target: str, sha256: str) -> None:
        self.target, self.sha256 = target, sha256

    @cached_property
    def function(self) -> Callable[..., Any]:
        function = loaded_attribute(self.target, self.sha256)
        if not callable(function) or inspect.iscoroutinefunction(function):
            what = "is asynchronous" if callable(function) else f"is a {type(function).__name__}, not a function"
            raise PluginError(f"{self.target} {what}.", hint="Write a plain  def judge(answer, references): …")
        return function

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The facts it asks for; raises PluginError for a parameter that is none."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError) as error:
            raise PluginError(f"{self.target} has no readable signature: {error}.") from None
        names = []
        known = ", ".join(FACTS)
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise PluginError(
                    f"{self.target} has the parameter '{parameter}', which cannot be given by name.",
                    hint=f"Name what it needs: {known}.",
                )
            if parameter.kind is parameter.VAR_KEYWORD:
                return tuple(FACTS)
            if parameter.name in FACTS:
                names.append(parameter.name)
            elif parameter.default is parameter.empty:
                raise PluginError(
                    f"{self.target} asks for '{parameter.name}', which is not known.",
                    hint=f"Its parameters can be {known}; others need a default value.",
                )
        if not names:
            raise PluginError(f"{self.target} takes nothing to judge.", hint=f"Its parameters can be {known}.")
        return tuple(names)

    def __call__(self, prediction: Prediction, example: Example, context: EvalContext) -> Any:
        """What the function says; raises NotComputable when it raises."""
        facts = {name: FACTS[name](prediction, example, context) for name in self.wanted}
        try:
            return self.function(**facts)
        except Exception as error:
            raise NotComputable(f"{self.target} raised {type(error).__name__}: {error}"[:MOST_EVIDENCE]) from None


class PythonMetric(MeanMetric):
    """What a function of your own returns for each answer: a number from 0 to 1, True or False, or None for "cannot be
    judged"; the aggregate is the mean. Anything else, or an exception, gives no value and says why."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        python: str = Field(description='"my_file.py:function", in the experiment file\'s folder.')
        sha256: str = Field("", description="Digest of the file; filled in when it is loaded.")

    def __init__(self, config: Config) -> None:
        self.judge = OwnFunction(config.python, config.sha256)

    def check(self) -> None:
        """Raises PluginError where the function's signature cannot work."""
        _ = self.judge.wanted

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        found = self.judge(prediction, example, context)
        if found is None:
            raise NotComputable(f"{self.judge.target} returned None")
        try:
            value = float(found) if not isinstance(found, str | bytes) else math.nan
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not 0 <= value <= 1:
            raise NotComputable(f"{self.judge.target} returned {found!r:.60}, not a number from 0 to 1")
        return value


class ContainsText(MeanMetric):
    """1 when the answer contains any of the texts (or all of them), as they stand; else 0. Needs no reference."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        texts: list[str] = Field(min_length=1, description="What to look for.")
        match: Literal["any", "all"] = Field("any", description="One of the texts is enough, or all are needed.")
        ignore_case: bool = Field(False, description="Case does not matter.")

        @field_validator("texts")
        @classmethod
        def _not_empty(cls, texts: list[str]) -> list[str]:
            if not all(texts):
                raise ValueError("an empty text is found in every answer")
            return texts

    def __init__(self, config: Config) -> None:
        self.config = config
        self.texts = [text.casefold() for text in config.texts] if config.ignore_case else config.texts

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        answer = prediction.parsed.casefold() if self.config.ignore_case else prediction.parsed
        found = (text in answer for text in self.texts)
        return float(any(found) if self.config.match == "any" else all(found))


class _OwnCategory(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the category.")
    severity: int = Field(2, description="0 none, 1 wrong form, 2 wrong answer, 3 no usable answer.")
    blame: str = Field("model", description="Where the remedy lies.")
    meaning: str = Field("", description="What it means.")
    remedy: str = Field("", description="What to try next.")


class Pattern:
    """A category of your own: its pattern is found in the answer. The evidence is what was found."""

    class Config(_OwnCategory):
        pattern: RegularExpression = Field(description="A regular expression in Python's syntax.")
        ignore_case: bool = Field(False, description="Case does not matter.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.search = re.compile(config.pattern, re.IGNORECASE if config.ignore_case else 0).search

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        found = self.search(prediction.parsed)
        if found is None:
            return []
        return [ErrorLabel(self.config.name, f"at {found.start()}: {found.group(0)[:MOST_EVIDENCE]!r}")]


class PythonCategory:
    """A category of your own: a function says whether an answer belongs to it. True or a text puts it there (the text
    is the evidence); False, None or an empty text does not. An exception stops the run: it would hide answers."""

    class Config(_OwnCategory):
        python: str = Field(description='"my_file.py:function", in the experiment file\'s folder.')
        sha256: str = Field("", description="Digest of the file; filled in when it is loaded.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.judge = OwnFunction(config.python, config.sha256)

    def check(self) -> None:
        """Raises PluginError where the function's signature cannot work."""
        _ = self.judge.wanted

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        try:
            found = self.judge(prediction, example, context)
        except NotComputable as error:
            raise PluginError(f"category '{self.config.name}': {error} (item {prediction.item_id}).") from None
        if isinstance(found, Mapping) or not isinstance(found, bool | str | None):
            raise PluginError(
                f"category '{self.config.name}': {self.judge.target} returned {found!r:.60} (item "
                f"{prediction.item_id}).",
                hint="It must return True, False, None, or a text that says why.",
            )
        if not found:
            return []
        return [ErrorLabel(self.config.name, found[:MOST_EVIDENCE] if isinstance(found, str) else self.judge.target)]
