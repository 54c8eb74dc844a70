"""An arm's sweep: which settings are tried, in which order, and the chain that each of them makes.

A candidate maps keys such as "lora.lr" (a strategy's id and one of its settings) to values. Candidates are proposed one
after another; a search that learns from scores gets each score before it proposes the next.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ValidationError

from harness.adaptation import canonical_json
from harness.exceptions import nearest
from harness.plugins import Registry
from harness.tables import BudgetTable

if TYPE_CHECKING:
    from harness.config import Arm, Use

Candidate = Mapping[str, Any]
Sweep = Mapping[str, Sequence[Any]]

#: Asked for so many times its budget, optuna has nothing new to propose.
_PATIENCE = 20


class Reader(Protocol):
    """What is needed of the reader of the experiment file."""

    registry: Registry

    def problem(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None: ...


# -------------------------------------------------------------------------------------------------- reading


def read_sweep(written: Mapping[str, Any], chain: Sequence[Use], path: tuple[str | int, ...], reader: Reader) -> Sweep:
    """Values by "id.setting", filled in and checked by the strategy's settings; what is wrong goes to the reader."""
    uses = {use.id: use for use in chain}
    found: dict[str, list[Any]] = {}
    for key, values in _flat(written).items():
        where = (*path, key)
        name, _, setting = key.partition(".")
        if name not in uses or not setting:
            known = [f"{use.id}.{field}" for use in chain for field in _fields(use, reader.registry)]
            reader.problem(
                where, 'is not a setting of this arm; write  "strategy.setting" = [values].', _near(key, known)
            )
            continue
        fields = _fields(uses[name], reader.registry)
        if setting not in fields:
            reader.problem(where, f"'{name}' has no setting '{setting}'.", nearest(setting, fields))
        elif not isinstance(values, list) or not values:
            reader.problem(where, "needs a list with at least one value.", f'Such as  "{key}" = [1, 2].')
        else:
            found[key] = _checked(uses[name], setting, values, where, reader)
    return found


def _flat(written: Mapping[str, Any]) -> dict[str, Any]:
    """`lora.lr = […]` without quotes is TOML for a table in a table: the same is meant."""
    flat: dict[str, Any] = {}
    for name, values in written.items():
        if isinstance(values, dict):
            flat |= {f"{name}.{setting}": inner for setting, inner in values.items()}
        else:
            flat[name] = values
    return flat


def _fields(use: Use, registry: Registry) -> list[str]:
    config = registry.get("strategy", use.use).config_class()
    return list(config.model_fields) if config is not None else []


def _near(key: str, known: Sequence[str]) -> str:
    return nearest(key, known) if known else "None of its strategies has settings."


def _checked(use: Use, setting: str, values: Sequence[Any], where: tuple[str | int, ...], reader: Reader) -> list[Any]:
    """Each value as the strategy's settings would hold it; a value that stands twice is tried once."""
    config: type[BaseModel] = reader.registry.get("strategy", use.use).config_class()
    kept: dict[str, Any] = {}
    for value in values:
        try:
            filled = config.model_validate({**use.settings, setting: value}).model_dump(mode="json")[setting]
        except ValidationError as error:
            for item in error.errors():
                message = item["msg"].removeprefix("Value error, ")
                reader.problem(where, f"{message[0].lower()}{message[1:]} (got {value!r:.60})")
        else:
            kept.setdefault(canonical_json(filled), filled)
    return list(kept.values())


def check_budget(
    budget: BudgetTable, sweeps: Mapping[tuple[str | int, ...], tuple[str, Sweep]], reader: Reader
) -> None:
    """A grid that the budget does not cover, and a search whose package is missing. `sweeps`: path → arm, sweep."""
    if budget.search == "optuna" and importlib.util.find_spec("optuna") is None:
        reader.problem(
            ("budget", "search"), "the package optuna is not installed.", 'pip install optuna, or search = "random".'
        )
    for path, (arm, sweep) in sweeps.items():
        size = grid_size(sweep)
        if budget.search == "grid" and size > budget.candidates_per_arm:
            reader.problem(
                path,
                f"the grid of arm '{arm}' has {size:,} candidates; [budget] candidates_per_arm allows "
                f"{budget.candidates_per_arm:,}.",
                f'Write  [budget]  search = "random"  to draw {budget.candidates_per_arm:,} of them, or '
                f"candidates_per_arm = {size}  for every arm.",
            )


# ------------------------------------------------------------------------------------------------ candidates


def grid_size(sweep: Sweep) -> int:
    """How many different candidates there are; 1 without a sweep."""
    return prod(len(values) for values in sweep.values())


def planned(sweep: Sweep, budget: BudgetTable) -> int:
    """How many candidates the search tries at most."""
    return min(grid_size(sweep), budget.candidates_per_arm)


def candidate(sweep: Sweep, number: int) -> dict[str, Any]:
    """The candidate at a place of the grid; the last setting changes fastest."""
    chosen: dict[str, Any] = {}
    for key in reversed(list(sweep)):
        number, place = divmod(number, len(sweep[key]))
        chosen[key] = sweep[key][place]
    return {key: chosen[key] for key in sweep}


def listed(sweep: Sweep, budget: BudgetTable, arm: str) -> list[dict[str, Any]]:
    """The candidates of a grid or random search, in the grid's order. A random search draws without repetition, by
    the seed and the arm's name; a budget that covers the grid is a grid search."""
    size, count = grid_size(sweep), planned(sweep, budget)
    places: Sequence[int] = range(size)
    if count < size:
        places = sorted(random.Random(f"{budget.seed}/{arm}").sample(places, count))
    return [candidate(sweep, place) for place in places]


def proposals(sweep: Sweep, budget: BudgetTable, arm: str) -> Generator[Candidate, float | None, None]:
    """Yields candidates, no more than the budget, never one twice; wants the score of each (higher is better, None
    for a failure) sent back. The same scores give the same candidates, so that a search can be repeated from what is
    stored."""
    if budget.search == "optuna" and planned(sweep, budget) < grid_size(sweep):
        yield from _optuna(sweep, budget)
        return
    for found in listed(sweep, budget, arm):
        _ = yield found  # scores change nothing here


def _optuna(sweep: Sweep, budget: BudgetTable) -> Generator[Candidate, float | None, None]:
    """Tree-structured Parzen estimator over places of the lists (Bergstra et al. 2011, NeurIPS; optuna's default)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=budget.seed))
    seen: dict[str, float | None] = {}
    for _ in range(_PATIENCE * budget.candidates_per_arm):
        if len(seen) == budget.candidates_per_arm:
            return
        trial = study.ask()
        found = {key: values[trial.suggest_categorical(key, range(len(values)))] for key, values in sweep.items()}
        name = canonical_json(found)
        if name not in seen:
            seen[name] = yield found
        if seen[name] is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, seen[name])


def with_settings(arm: Arm, settings: Candidate) -> Arm:
    """The arm with a candidate's settings in its chain."""
    chain = []
    for use in arm.chain:
        own = {key.partition(".")[2]: value for key, value in settings.items() if key.partition(".")[0] == use.id}
        chain.append(replace(use, settings={**use.settings, **own}))
    return replace(arm, chain=tuple(chain))
