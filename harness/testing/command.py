"""`harness plugins test`: the contract suites of a whole package, without pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.exceptions import PluginError, nearest
from harness.local_code import LocalCode
from harness.local_plugins import add_local_plugins
from harness.plugins import LOCAL, Registered, Registry, load_plugins
from harness.testing.promise import Broken, NotApplicable
from harness.testing.suites import promises_of


def plugins_of(package: str, registry: Registry) -> list[Registered]:
    """The plugins of a distribution or of a local file; PluginError when it is not there or could not be loaded."""
    if package.endswith(".py"):
        path = Path(package).resolve()
        add_local_plugins(registry, LocalCode(path.parent), path, "", {"plugins": [path.name]})
        return [entry for entry in registry.entries if entry.origin.distribution == LOCAL]
    wanted = package.replace("_", "-").lower()
    origins = [origin for origin in registry.origins if origin.distribution.replace("_", "-").lower() == wanted]
    for origin in origins:
        if not origin.ok:
            raise PluginError(f"{origin} cannot be loaded: {origin.state}")
    if not origins:
        known = {origin.distribution for origin in registry.origins}
        hint = f"{nearest(package, known)} An entry point in the group harness.plugins makes a package one."
        raise PluginError(f"no installed package '{package}' with plugins.", hint=hint)
    return [entry for entry in registry.entries if entry.origin in origins]


def run_suites(package: str, settings: Mapping[str, Any], write: Callable[[str], None]) -> int:
    """Checks every promise and writes one line for each; 1 when one is broken, else 0."""
    registry = load_plugins()
    entries = plugins_of(package, registry)
    kept = broken = skipped = 0
    for entry in entries:
        write(entry.label)
        for promise in promises_of(entry, registry, settings.get(entry.name)):
            try:
                promise()
            except NotApplicable as reason:
                skipped += 1
                write(f"  -       {promise.name}: not tested, {reason}")
            except Broken as error:
                broken += 1
                write(f"  BROKEN  {promise.name}: {promise.sentence}\n            {error}")
            else:
                kept += 1
                write(f"  kept    {promise.name}: {promise.sentence}")
    write(f"{len(entries)} plugins: {kept} promises kept, {broken} broken, {skipped} not tested")
    return 1 if broken else 0
