"""Metrics of answers with a form: numbers, JSON, patterns."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from harness.types import EvalContext, Example, Prediction
from harness_plugins.metrics.base import MeanMetric, NotComputable, require_references
from harness_plugins.metrics.numbers import close, numbers

_FENCE = re.compile(r"\A```\w*\n(.*)\n?```\Z", re.DOTALL)
_LONGEST_INTEGER = 4000  # Python refuses to read longer ones as int


class Numeric(MeanMetric):
    """1 when the answer's number is within tolerance of any reference's first number: |a - g| <= max(absolute,
    relative * |g|); 0 otherwise or when the answer has no number. Reads "1,234.5", "2e6", "5.3 million". The default
    tolerance is none: a year must be that year. No value where no reference holds a number."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        relative: float = Field(0.0, ge=0, description="Tolerance as a share of the reference.")
        absolute: float = Field(0.0, ge=0, description="Tolerance as a difference.")
        pick: Literal["first", "last", "any"] = Field("first", description="Which of the answer's numbers is judged.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        gold = [first for r in require_references(example) if (first := next(numbers(r), None)) is not None]
        if not gold:
            raise NotComputable("the reference holds no number")
        config, found = self.config, list(numbers(prediction.parsed))
        if config.pick != "any":
            found = found[:1] if config.pick == "first" else found[-1:]
        pairs = ((value, target) for value in found for target in gold)
        return float(any(close(v, g, relative=config.relative, absolute=config.absolute) for v, g in pairs))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def parse_json(text: str, *, fenced: bool = False) -> Any:
    """The value of a JSON text (RFC 8259: no NaN, no trailing text); raises ValueError for anything else."""
    text = text.strip()
    if fenced and (match := _FENCE.match(text)):
        text = match.group(1)
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


class JsonValid(MeanMetric):
    """1 when the whole answer is one JSON value (RFC 8259, so NaN and Infinity are not), else 0. Needs no reference."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        fenced: bool = Field(False, description="Accept JSON inside a Markdown code fence.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        try:
            parse_json(prediction.parsed, fenced=self.config.fenced)
        except ValueError:
            return 0.0
        return 1.0


class JsonSchema(MeanMetric):
    """1 when the whole answer is one JSON value that the schema accepts (jsonschema; draft 2020-12 unless `$schema`
    names another), else 0. Needs no reference. References to schemas elsewhere are never fetched."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

        schema_: dict[str, Any] = Field(alias="schema", description="The JSON schema, as a table.")
        fenced: bool = Field(False, description="Accept JSON inside a Markdown code fence.")

        @field_validator("schema_")
        @classmethod
        def _is_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
            from jsonschema import Draft202012Validator, SchemaError
            from jsonschema.validators import validator_for

            try:
                validator_for(schema, default=Draft202012Validator).check_schema(schema)
            except SchemaError as error:
                raise ValueError(f"not a JSON schema: {error.message} (at {error.json_path})") from None
            return schema

    def __init__(self, config: Config) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable

        self.config = config
        # An empty registry: jsonschema's own default would open the network for a foreign $ref.
        validator = validator_for(config.schema_, default=Draft202012Validator)
        self.validator = validator(config.schema_, registry=Registry())
        self.unresolvable = Unresolvable

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        try:
            answer = parse_json(prediction.parsed, fenced=self.config.fenced)
        except ValueError:
            return 0.0
        try:
            return float(self.validator.is_valid(answer))
        except self.unresolvable as error:
            raise NotComputable(f"the schema refers to {error.ref!r}, which is not part of it") from None
        except RecursionError:
            raise NotComputable("the answer or the schema is nested too deeply to be checked") from None


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


#: A setting that must compile as a pattern of `re`.
RegularExpression = Annotated[str, AfterValidator(_compiles)]


class Regex(MeanMetric):
    """1 when the pattern (Python's `re`) is found in the answer, or matches all of it with `whole = true`; else 0.
    Needs no reference. Spaces around the answer are dropped first."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        pattern: RegularExpression = Field(description="A regular expression in Python's syntax.")
        whole: bool = Field(False, description="The pattern must match the whole answer.")
        ignore_case: bool = Field(False, description="Case does not matter.")

    def __init__(self, config: Config) -> None:
        pattern = re.compile(config.pattern, re.IGNORECASE if config.ignore_case else 0)
        self.find = pattern.fullmatch if config.whole else pattern.search

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        return float(self.find(prediction.parsed.strip()) is not None)
