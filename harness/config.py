"""experiment.toml → `Experiment`: strict, every mistake reported together with line, key and nearest valid name."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.analysis.rows import Decision, Prices
from harness.criteria import read_errors, read_evals
from harness.exceptions import ConfigError, PluginError, Problem, nearest
from harness.local_code import LocalCode
from harness.plugins import Registry
from harness.readout import read_readout
from harness.sweep import Sweep, check_budget, read_sweep
from harness.tables import (
    DEFAULT_METRICS,
    LIMITS,
    LISTS,
    TABLES,
    ArmTable,
    BenchmarksTable,
    BudgetTable,
    ExperimentTable,
    GenerationTable,
    LearningCurveTable,
    ModelTable,
    RunTable,
    TaskTable,
)
from harness.toml_lines import Path as KeyPath
from harness.toml_lines import key_lines, line_of, show_path


@dataclass(frozen=True)
class Use:
    """A plugin with its resolved settings; `id` tells two uses of one plugin apart."""

    use: str
    id: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """`sweep`: values to try by "id.setting" (see `harness.sweep`); empty where there is nothing to tune."""

    name: str
    chain: tuple[Use, ...]
    sweep: Sweep = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A validated experiment. `folder` is where relative paths start; `text` is the file as written."""

    name: str
    seeds: tuple[int, ...]
    baseline: str
    model: ModelTable
    task: TaskTable
    loader: Use
    readout: str
    readout_options: dict[str, Any]  # see harness.readout; {} for the defaults
    metrics: tuple[Use, ...]
    errors: tuple[Use, ...]
    slices: tuple[str, ...]
    primary_metric: str
    generation: GenerationTable
    arms: tuple[Arm, ...]
    budget: BudgetTable
    learning_curve: LearningCurveTable | None
    benchmark: Use | None
    prices: Prices
    decision: Decision
    folder: str
    text: str
    run: RunTable = field(default_factory=RunTable)
    observers: tuple[Use, ...] = ()
    lines: dict[KeyPath, int] = field(default_factory=dict, compare=False, repr=False)

    def resolved(self) -> dict[str, Any]:
        """Everything that was decided, with defaults filled in; JSON-able."""
        task = self.task.model_dump(include=set(TaskTable.model_fields))
        task |= {"metrics": [asdict(use) for use in self.metrics], "primary_metric": self.primary_metric}
        task |= {"loader": asdict(self.loader), "readout": {"kind": self.readout, **self.readout_options}}
        return {
            "experiment": {"name": self.name, "seeds": list(self.seeds), "baseline": self.baseline},
            "model": self.model.model_dump(),
            "task": task,
            "errors": [asdict(use) for use in self.errors],
            "slices": {"by": list(self.slices)},
            "generation": self.generation.model_dump(),
            "arms": [asdict(arm) for arm in self.arms],
            "budget": self.budget.model_dump(),
            "learning_curve": self.learning_curve.model_dump() if self.learning_curve is not None else None,
            "benchmarks": asdict(self.benchmark) if self.benchmark is not None else None,
            "cost": asdict(self.prices),
            "decision": asdict(self.decision),
            "run": {**self.run.model_dump(), "observers": [asdict(use) for use in self.observers]},
        }


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text and the parsed file; ConfigError with the line for broken TOML, a missing or unreadable file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        here = sorted(str(found) for found in Path(".").glob("**/*.toml") if len(found.parts) < 4)[:200]
        hint = nearest(str(path), here) if here else "Write one first; the README shows the smallest."
        raise ConfigError([Problem("file not found", hint=hint)], source=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"cannot be read: {error}")], source=str(path)) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = Problem(f"not valid TOML: {error}", hint="Strings need quotes; keys are written  name = value.")
        raise ConfigError([problem], source=str(path)) from None


def load_experiment(path: Path, registry: Registry, code: LocalCode | None = None) -> Experiment:
    """Reads and validates a file; one ConfigError has every problem. `code`: what may be loaded of files beside it."""
    text, data = read_toml(path)
    return _Reader(text, data, registry, path, code or LocalCode(path.resolve().parent)).experiment()


class _Reader:
    """Collects problems while it validates table by table."""

    def __init__(self, text: str, data: dict[str, Any], registry: Registry, path: Path, code: LocalCode) -> None:
        self.text, self.data, self.registry, self.path, self.code = text, data, registry, path, code
        self.lines = key_lines(text)
        self.problems: list[Problem] = []

    def problem(self, path: KeyPath, message: str, hint: str = "") -> None:
        self.problems.append(Problem(message, key=show_path(path), line=line_of(self.lines, path), hint=hint))

    def validate(self, model: type[BaseModel], data: Any, path: KeyPath) -> Any:
        """The model filled from data, or None after noting every mistake."""
        if not isinstance(data, dict):
            self.problem(path, f"must be a table, not {type(data).__name__}")
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for item in error.errors():
                where = (*path, *(part for part in item["loc"] if part not in ("str", "dict[str,any]")))
                if item["type"] == "extra_forbidden":
                    self.problem(where, "unknown key.", nearest(str(item["loc"][-1]), model.model_fields))
                elif item["type"] == "missing":
                    self.problem(where, "is missing.", _hint(model, item))
                else:
                    message = item["msg"].removeprefix("Value error, ")
                    value = repr(item["input"])
                    got = f" (got {value[:60]})" if item["type"] != "value_error" else ""
                    self.problem(where, message[0].lower() + message[1:] + got, _hint(model, item))
            return None

    def plugin_settings(self, kind: str, use: str, settings: Any, path: KeyPath) -> dict[str, Any] | None:
        """Settings filled in by the plugin's Config, or None after noting problems."""
        try:
            config = self.registry.get(kind, use).config_class()
        except PluginError as error:
            self.problem(path, error.message, error.hint)
            return None
        if config is None:
            if settings:
                self.problem(path, f"{kind} '{use}' has no settings.")
            return {}
        filled = self.validate(config, settings, path)
        return None if filled is None else filled.model_dump(mode="json")

    def experiment(self) -> Experiment:
        for key in self.data:
            if key not in TABLES and key not in LISTS:
                self.problem((key,), "unknown table.", nearest(key, [*TABLES, *LISTS]))
        tables = {
            name: self.validate(model, self.data.get(name, {}), (name,))
            for name, model in TABLES.items()
            if name in self.data or name not in ("experiment", "task", "benchmarks", "learning_curve")
        }
        for name in ("experiment", "task"):
            if name not in self.data:
                self.problem((name,), f"table [{name}] is missing.")
                tables[name] = None
        if (decision := tables["decision"]) is not None:
            for limit in decision.limits:
                if limit not in LIMITS:
                    self.problem(("decision", "limits", limit), "unknown limit.", nearest(limit, LIMITS))
            if "forgetting" in decision.limits and "benchmarks" not in self.data:
                path = ("decision", "limits", "forgetting")
                self.problem(path, "is measured on benchmarks.", 'Add  [benchmarks]  tasks = ["arc_easy"]')
        benchmark = self.benchmark(tables.get("benchmarks"))
        arms = self.arms(tables["task"])
        self.tuning(tables["budget"], tables.get("learning_curve"), arms)
        loader, (readout, options), metrics, primary = self.task(tables["task"])
        errors = tuple(Use(*found) for found in read_errors(self))
        baseline = self.baseline(tables["experiment"], arms)
        observers = self.observers(tables["run"])
        if self.problems:
            raise ConfigError(self.problems, source=str(self.path))
        experiment: ExperimentTable = tables["experiment"]
        return Experiment(
            name=experiment.name,
            seeds=tuple(dict.fromkeys(experiment.seeds)),
            baseline=baseline,
            model=tables["model"],
            task=tables["task"],
            loader=loader,
            readout=readout,
            readout_options=options,
            metrics=metrics,
            errors=errors,
            slices=tuple(dict.fromkeys(tables["slices"].by)),
            primary_metric=primary,
            generation=tables["generation"],
            arms=arms,
            budget=tables["budget"],
            learning_curve=tables.get("learning_curve"),
            benchmark=benchmark,
            prices=Prices(**tables["cost"].model_dump()),
            decision=Decision(**tables["decision"].model_dump()),
            folder=str(self.path.resolve().parent),
            text=self.text,
            run=tables["run"],
            observers=observers,
            lines=self.lines,
        )

    def baseline(self, table: ExperimentTable | None, arms: tuple[Arm, ...]) -> str:
        names = [str(arm.get("name")) for arm in self.data.get("arm", []) if isinstance(arm, dict)]
        if table is not None and table.baseline is not None:
            if table.baseline not in names:
                self.problem(("experiment", "baseline"), f"no arm '{table.baseline}'.", nearest(table.baseline, names))
            return table.baseline
        return arms[0].name if arms else ""

    def task(self, table: TaskTable | None) -> tuple[Any, tuple[str, dict[str, Any]], tuple[Use, ...], str]:
        if table is None:
            return None, ("generate", {}), (), ""
        extra = dict(table.model_extra or {})
        try:
            fields = self.registry.get("task loader", table.loader).config_class().model_fields
        except (PluginError, AttributeError):
            fields = {}
        for shared in ("labels",):  # settings that both we and the loader need
            if shared in fields and getattr(table, shared) is not None:
                extra.setdefault(shared, getattr(table, shared))
        unknown = [key for key in extra if fields and key not in fields]
        for key in unknown:
            self.problem(("task", key), "unknown key.", nearest(key, [*TaskTable.model_fields, *fields]))
            del extra[key]
        settings = self.plugin_settings("task loader", table.loader, extra, ("task",))
        readout, options = read_readout(table.readout, bool(table.labels), self)
        if readout == "choose" and table.labels is not None and len(set(table.labels)) < 2:
            self.problem(("task", "labels"), "needs at least two different labels.")
        metrics = self.metrics(table, readout)
        primary = table.primary_metric or (metrics[0].id if metrics else "")
        ids = [use.id for use in metrics]
        if metrics and primary not in ids:
            self.problem(("task", "primary_metric"), f"'{primary}' is not among the metrics.", nearest(primary, ids))
        return Use(table.loader, table.loader, settings or {}), (readout, options), metrics, primary

    def benchmark(self, table: BenchmarksTable | None) -> Use | None:
        if table is None:
            return None
        settings = self.plugin_settings("benchmark", table.use, dict(table.model_extra or {}), ("benchmarks",))
        return Use(table.use, table.use, settings or {})

    def metrics(self, table: TaskTable, readout: str) -> tuple[Use, ...]:
        chosen = table.metrics if table.metrics is not None else DEFAULT_METRICS[readout]
        if not chosen:
            self.problem(("task", "metrics"), "name at least one metric.")
        uses = [self.use("metric", entry, {}, ("task", "metrics")) for entry in chosen]
        found = [use for use in uses if use is not None] + [Use(*own) for own in read_evals(self)]
        self.unique([use.id for use in found], ("task", "metrics"), "metric")
        return tuple(found)

    def observers(self, table: RunTable | None) -> tuple[Use, ...]:
        path: KeyPath = ("run", "observers")
        uses = [self.use("observer", entry, {}, path) for entry in (table.observers if table else ())]
        found = tuple(use for use in uses if use is not None)
        self.unique([use.id for use in found], path, "observer")
        return found

    def use(self, kind: str, entry: Any, settings_by_id: dict[str, Any], path: KeyPath) -> Use | None:
        """A name, or a table { use, id, settings… }; settings may also stand beside it under the id."""
        inline: dict[str, Any] = {}
        if isinstance(entry, dict):
            inline = dict(entry)
            entry = inline.pop("use", None)
            if not isinstance(entry, str):
                self.problem(path, f'a {kind} given as a table needs  use = "name".')
                return None
        name = str(inline.pop("id", entry))
        beside = settings_by_id.get(name, {})
        where: KeyPath = (*path[:-1], name) if beside else path
        if not isinstance(beside, dict):
            self.problem(where, "must be a table of settings.")
            return None
        settings = self.plugin_settings(kind, entry, {**inline, **beside}, where)
        return None if settings is None else Use(entry, name, settings)

    def unique(self, names: list[str], path: KeyPath, what: str) -> None:
        for name in sorted({name for name in names if names.count(name) > 1}):
            hint = f'Give one another id: {{ use = "{name}", id = "second" }}.' if what != "arm" else "Rename one."
            self.problem(path, f"{what} '{name}' stands twice.", hint)

    def arms(self, task: TaskTable | None) -> tuple[Arm, ...]:
        tables = self.data.get("arm", [])
        if not isinstance(tables, list) or not tables:
            self.problem(
                ("arm",), "name at least one arm.", 'Write  [[arm]]  name = "zero-shot"  strategies = ["prompt"]'
            )
            return ()
        arms = []
        for index, data in enumerate(tables):
            path: KeyPath = ("arm", index)
            table = self.validate(ArmTable, data, path)
            if table is None:
                continue
            extra = dict(table.model_extra or {})
            uses = [self.use("strategy", entry, extra, (*path, "strategies")) for entry in table.strategies]
            chain = tuple(use for use in uses if use is not None)
            for key in extra:
                if len(chain) == len(uses) and key not in [use.id for use in chain]:
                    known = [*ArmTable.model_fields, *(use.id for use in chain)]
                    self.problem(
                        (*path, key), "is neither a key of an arm nor one of its strategies.", nearest(key, known)
                    )
            self.unique([use.id for use in chain], (*path, "strategies"), "strategy")
            sweep: Sweep = {}
            if len(chain) == len(uses):
                self.check_chain(chain, (*path, "strategies"))
                sweep = read_sweep(table.sweep, chain, (*path, "sweep"), self)
            arms.append(Arm(table.name, chain, sweep))
        self.unique([arm.name for arm in arms], ("arm",), "arm")
        return tuple(arms)

    def tuning(self, budget: BudgetTable | None, curve: LearningCurveTable | None, arms: tuple[Arm, ...]) -> None:
        written = [data.get("name") if isinstance(data, dict) else None for data in self.data.get("arm", [])]
        if budget is not None:
            places: dict[KeyPath, tuple[str, Sweep]] = {
                ("arm", written.index(arm.name), "sweep"): (arm.name, arm.sweep) for arm in arms
            }
            check_budget(budget, places, self)
        names = [name for name in written if isinstance(name, str)]
        for name in (curve.arms or ()) if curve is not None else ():
            if name not in names:
                self.problem(("learning_curve", "arms"), f"no arm '{name}'.", nearest(name, names))

    def check_chain(self, chain: tuple[Use, ...], path: KeyPath) -> None:
        """Combinations that cannot work, in a sentence each."""
        readouts: list[str] = []
        soft: str | None = None
        fitted: str | None = None
        last: str | None = None
        for use in chain:
            spec: Any = self.registry.get("strategy", use.use).spec
            if last is not None and spec.changes != "answer":
                self.problem(path, f"'{use.id}' comes after '{last}', which mends finished answers.", "Put it last.")
            last = use.id if spec.changes == "answer" else None
            if spec.changes == "readout":
                readouts.append(use.id)
                fitted = use.id if "train" in spec.needs else fitted
            elif fitted is not None and spec.changes in ("prompt", "model"):
                self.problem(
                    path, f"'{use.id}' would change what '{fitted}' has learnt to read.", f"Put '{fitted}' last."
                )
            if spec.changes == "model":
                if soft is not None:
                    self.problem(
                        path,
                        f"'{use.id}' would change the model under the soft prompt that '{soft}' has trained.",
                        f"Put '{use.id}' before '{soft}'.",
                    )
                if spec.delta in ("soft_prompt", "prefix"):
                    soft = use.id
        if len(readouts) > 1:
            self.problem(path, f"two strategies read the answer: {', '.join(readouts)}.", "Keep one of them.")


def _hint(model: type[BaseModel], error: Any) -> str:
    """The nearest of a closed set of values, else what the key means."""
    choices = re.findall(r"'([^']*)'", error["ctx"]["expected"]) if error["type"] == "literal_error" else []
    near = nearest(str(error["input"]), choices)
    known = model.model_fields.get(str(error["loc"][0])) if error["loc"] else None
    return near if near.startswith("Did you mean") else known.description or "" if known is not None else ""
