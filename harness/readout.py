"""How one of the labels is chosen: the options of the readout "choose", and the arithmetic behind them.

A label's score is s = ln p(label and end of turn | prompt), the sum over its tokens. Two corrections are offered:

- *Length*: longer labels have lower sums. s is divided by the label's tokens (end of turn included, as in the sum), by
  its characters (lm-eval's `acc_norm`) or by its UTF-8 bytes (lm-eval's `acc_bytes`).
- *Calibration by content-free prompts* (Zhao et al. 2021, "Calibrate Before Use", section 5): what the prompt alone
  makes the model say is divided out. With p(l | c) the softmax of the labels' scores for the content-free input c,
  p_cf(l) = mean over c of p(l | c), and an item's scores become s(l) - ln p_cf(l): the paper's W = diag(p_cf)^-1 and
  b = 0, in logarithms.

Length comes first, calibration second. The softmax of the final scores is the probability that calibration metrics see.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from harness.exceptions import nearest

Normalise = Literal["none", "tokens", "characters", "bytes"]
KINDS = ("choose", "generate")


class Choose(BaseModel):
    """Options of the readout "choose". The defaults are the plain choice: the label with the highest sum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["likelihood", "generation"] = Field(
        "likelihood",
        description="likelihood: score every label whole; generation: greedy decoding that can only spell a label.",
    )
    normalise: Normalise = Field(
        "none", description="Divide a label's log-likelihood by its length: in tokens, characters or UTF-8 bytes."
    )
    calibrate: bool = Field(
        False, description="Divide out what the arm's prompt makes the model say to content-free inputs."
    )
    content_free: list[str] = Field(
        ["N/A", "", "[MASK]"], min_length=1, description="Inputs without content, for calibrate = true."
    )

    def conflicts(self) -> list[str]:
        """Sentences about options that cannot work together."""
        corrections = {"normalise": self.normalise != "none", "calibrate": self.calibrate}
        found = [
            f'{name} corrects the scores of labels, and by = "generation" scores none: leave out one of the two.'
            for name, wanted in corrections.items()
            if wanted and self.by == "generation"
        ]
        if self.content_free != Choose().content_free and not self.calibrate:
            found.append("content_free is read with calibrate = true only: add it, or leave content_free out.")
        return found

    @property
    def options(self) -> dict[str, Any]:
        """Everything that bears on the answer, JSON-able; {} for the plain choice, so that its keys stay as they are
        when an option is added."""
        return {} if self == Choose() else self.model_dump()


class Reader(Protocol):
    """Of the reader of experiment files what is needed here: both note problems."""

    def validate(self, model: type[BaseModel], data: Any, path: tuple[str | int, ...]) -> Any: ...

    def problem(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None: ...


def read_readout(
    written: str | Mapping[str, Any] | None, has_labels: bool, reader: Reader
) -> tuple[str, dict[str, Any]]:
    """Kind and options of `[task] readout`: a kind, or a table `{ kind, options… }` whose kind defaults to "choose";
    where nothing is written, "choose" for a task with labels."""
    path = ("task", "readout")
    if written is None:
        written = "choose" if has_labels else "generate"
    options = {"kind": written} if isinstance(written, str) else dict(written)
    kind = options.pop("kind", "choose")
    if kind not in KINDS:
        reader.problem(path, f"there is no readout {kind!r}.", nearest(str(kind), KINDS))
        kind = "choose"  # its options are checked all the same
    if kind == "generate":
        for name in options:
            reader.problem((*path, name), "bears on a choice only.", 'Write kind = "choose", or leave it out.')
        return kind, {}
    choose = reader.validate(Choose, options, path)
    for sentence in choose.conflicts() if choose is not None else ():
        reader.problem(path, sentence)
    return kind, choose.options if choose is not None else {}


def normalised(logprob: float, label: str, tokens: int, by: Normalise) -> float:
    """The summed log-likelihood, in nats, per unit of the label's length; `tokens` counts the end of turn."""
    length = {"none": 1, "tokens": tokens, "characters": len(label), "bytes": len(label.encode())}[by]
    return logprob / max(1, length)


def log_prior(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """ln p_cf(label): the logarithm of the mean probability over content-free inputs. ValueError without any."""
    tables = [_log_softmax(table) for table in scores]
    if not tables:
        raise ValueError("no content-free input was scored")
    count = math.log(len(tables))
    return {label: _log_sum([table[label] for table in tables]) - count for label in tables[0]}


def calibrated(scores: Mapping[str, float], prior: Mapping[str, float]) -> dict[str, float]:
    """s(l) - ln p_cf(l) for every label."""
    return {label: score - prior[label] for label, score in scores.items()}


def _log_sum(values: Sequence[float]) -> float:
    """ln of the sum of exponentials, without overflow."""
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))


def _log_softmax(scores: Mapping[str, float]) -> dict[str, float]:
    total = _log_sum([*scores.values()])
    return {label: score - total for label, score in scores.items()}
