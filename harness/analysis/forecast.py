"""What a run is expected to take and to show: the figures of `harness plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.analysis.result import ArmCost

Basis = Literal["earlier trials", "rough", "at least", "unknown"]


@dataclass(frozen=True)
class ArmForecast:
    """One arm. Tokens are per request; `train_tokens` and the seconds are per trial. `cost` as in a report, for what
    one deployment would pay."""

    arm: str
    trials: int
    tokens_in: float | None
    tokens_out: float | None
    train_tokens: float | None
    predict_s: float | None
    train_s: float | None
    memory_bytes: float | None
    memory_basis: Basis
    cost: ArmCost

    @property
    def seconds(self) -> float | None:
        """All trials of the arm; loading, retrieval and the latency pass come on top."""
        if self.predict_s is None or self.train_s is None:
            return None
        return self.trials * (self.predict_s + self.train_s)


@dataclass(frozen=True)
class Forecast:
    """`detectable`: smallest true difference that wins with 80 % power; `items_needed`: items for the margin."""

    arms: tuple[ArmForecast, ...]
    items: int
    groups: int | None
    margin: float
    detectable: float | None
    items_needed: int | None
    time_basis: Basis
    parameters: int | None

    @property
    def seconds(self) -> float | None:
        known = [arm.seconds for arm in self.arms]
        return None if None in known else sum(second for second in known if second is not None)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": self.seconds}
