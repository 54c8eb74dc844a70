"""What every plugin promises, of whatever kind."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from harness.needs import missing_packages
from harness.plugin_reference import config_of, settings_of
from harness.testing.promise import Broken, NotApplicable, Subject, promise, require


@promise("any")
def described(subject: Subject) -> None:
    """It says in one sentence what it does, and its class can be imported."""
    summary = subject.spec.summary
    require(summary.strip().endswith("."), f"has a summary that is no sentence: '{summary}'.")
    if missing := missing_packages(subject.spec):
        raise NotApplicable("; ".join(missing))
    require(callable(subject.entry.resolve()), f"names {subject.spec.target}, which cannot be called.")


def _config(subject: Subject) -> Any:
    config = config_of(subject.entry)
    try:
        return config(**subject.settings)
    except ValidationError as error:
        if any(problem["type"] == "missing" for problem in error.errors()):
            raise NotApplicable("it has required settings: give them, or give their fields examples=[…]") from None
        raise Broken(f"refuses its settings: {error}") from None


@promise("settings")
def settings_round_trip(subject: Subject) -> None:
    """Its settings survive being written as JSON and read again."""
    config = _config(subject)
    again = type(config)(**json.loads(json.dumps(config.model_dump(mode="json"))))
    require(again == config, "has settings that read differently after a round through JSON.")


@promise("settings")
def settings_strict(subject: Subject) -> None:
    """It refuses settings that it does not know, so that a misspelt one is not ignored."""
    config = _config(subject)
    try:
        type(config)(**subject.settings, no_such_setting=1)
    except ValidationError:
        return
    raise Broken('accepts unknown settings; give its Config  model_config = ConfigDict(extra="forbid").')


@promise("settings")
def settings_documented(subject: Subject) -> None:
    """Every setting says what it means."""
    silent = [setting.name for setting in settings_of(type(_config(subject))) if not setting.doc]
    require(not silent, f"has settings without a description: {', '.join(silent)}.")
