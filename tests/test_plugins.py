"""Finding plugins: one bad package costs nobody else anything, and every refusal names what is right."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from harness.exceptions import PluginError, nearest
from harness.hookspecs import ENTRY_POINT_GROUP
from harness.plugins import KINDS, Registry, load_plugins


def distribution(folder: Path, name: str, module: str, code: str) -> EntryPoint:
    """An installed-looking package: a module and a hand-written dist-info."""
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nmain = {module}\n", encoding="utf-8")
    return next(p for p in entry_points(group=ENTRY_POINT_GROUP) if p.dist is not None and p.dist.name == name)


HEAD = "from harness.hookspecs import StrategySpec, hookimpl\n\n\n"
GOOD = HEAD + "@hookimpl\ndef harness_strategies():\n    return [StrategySpec('{name}', 'A test.', 'x:Y')]\n"
METRIC = GOOD.replace("StrategySpec", "MetricSpec").replace("harness_strategies", "harness_metrics")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_every_builtin_resolves_and_is_listed_with_its_origin(registry: Registry) -> None:
    assert {kind for kind in KINDS if registry.of_kind(kind)} == set(KINDS)
    for entry in registry.entries:
        assert callable(entry.resolve()), entry.name
        assert entry.spec.summary.endswith("."), entry.name
        assert entry.origin.distribution == "adaptation-harness"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("raise SystemError('broken on import')\n", "broken on import"),
        (HEAD + "@hookimpl\ndef harness_strategys():\n    return []\n", "Did you mean 'harness_strategies'?"),
        (HEAD + "@hookimpl\ndef harness_strategies(config):\n    return []\n", "takes no arguments"),
        (HEAD + "@hookimpl\ndef harness_strategies():\n    return ['lora']\n", "must return StrategySpecs, got str"),
        (HEAD + "@hookimpl\ndef harness_strategies():\n    pass\n", "returned None"),
        (HEAD + "def harness_strategies():\n    return []\n", "is not marked"),
        (HEAD + "HARNESS_INTERFACE = 99\n", "pip install -U adaptation-harness"),
        (HEAD + "HARNESS_INTERFACE = 0\n", "Update the plugin"),
        ("raise SystemExit('leaves')\n", "SystemExit: leaves"),
        (GOOD.format(name="x").replace("'x:Y')", "'x:Y', needs=('wieghts',))"), "Did you mean 'weights'?"),
        (METRIC.replace("'x:Y')", "'x:Y', measures='repeat')"), "Did you mean 'repeats'?"),
        (GOOD.format(name="x").replace("'x:Y')]", "'x:Y')] * 2"), "provides strategy 'x' twice"),
        (HEAD + "@hookimpl\ndef harness_strategies():\n    return 1 / 0\n", "ZeroDivisionError"),
        (GOOD.format(name="x").replace("x:Y", "xY"), "module:attribute"),
    ],
)
def test_a_bad_plugin_is_recorded_and_hurts_nobody(site: Path, code: str, wanted: str) -> None:
    bad = distribution(site, "bad-plugin", f"bad_plugin_{abs(hash(code))}", code)
    good = distribution(site, "good-plugin", f"good_plugin_{abs(hash(code))}", GOOD.format(name="fine"))
    found = load_plugins([bad, good])
    states = {origin.distribution: origin.state for origin in found.origins}
    assert wanted in states["bad-plugin"], states
    assert states["good-plugin"] == "loaded"
    assert found.names("strategy") == ["fine"]
    with pytest.raises(PluginError, match="failed to load"):
        found.get("strategy", "x")


def test_a_clash_lists_the_providers_and_can_be_qualified(site: Path) -> None:
    points = [distribution(site, name, name.replace("-", "_"), GOOD.format(name="twin")) for name in ("pkg-a", "pkg-b")]
    found = load_plugins(points)
    with pytest.raises(PluginError) as caught:
        found.get("strategy", "twin")
    assert "'pkg-a:twin', 'pkg-b:twin'" in str(caught.value)
    assert found.get("strategy", "pkg-b:twin").origin.distribution == "pkg-b"


def test_a_target_that_is_not_there_is_explained(site: Path) -> None:
    found = load_plugins([distribution(site, "pkg-c", "pkg_c", GOOD.format(name="gone"))])
    with pytest.raises(PluginError, match=r"strategy 'gone' of pkg-c 1.0 cannot be imported from x:Y"):
        found.get("strategy", "gone").resolve()


def test_plugins_can_be_restricted(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [distribution(site, name, name.replace("-", "_"), GOOD.format(name=name)) for name in ("pkg-r", "pkg-s")]
    monkeypatch.setenv("HARNESS_PLUGINS", "pkg-s, pkg-t")
    found = load_plugins(points)
    assert found.names("strategy") == ["pkg-s"]
    states = {origin.distribution: origin.state for origin in found.origins}
    assert states["pkg-r"] == "left out by HARNESS_PLUGINS" and states["pkg-s"] == "loaded"
    assert "not installed" in states["pkg-t"] and "Did you mean 'pkg-s'?" in states["pkg-t"]
    with pytest.raises(PluginError, match="left out by HARNESS_PLUGINS: main"):
        found.get("strategy", "pkg-r")
    monkeypatch.setenv("HARNESS_PLUGINS", "")
    assert load_plugins(points).entries == []


def test_the_built_ins_are_never_left_out(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "")
    assert [entry.spec for entry in load_plugins().entries] == [entry.spec for entry in registry.entries]


def test_strict_plugins_raise(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = distribution(site, "pkg-u", "pkg_u", "import nothing_of_that_name\n")
    monkeypatch.setenv("HARNESS_STRICT_PLUGINS", "0")
    assert load_plugins([point]).origins[0].failed
    monkeypatch.setenv("HARNESS_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"pkg-u 1.0, 'main': ModuleNotFoundError") as caught:
        load_plugins([point])
    assert "HARNESS_STRICT_PLUGINS" in caught.value.hint


HOOK_CALLS = {
    "strategy": ("StrategySpec", "mine"),
    "metric": ("MetricSpec", "mine"),
    "error classifier": ("ErrorClassifierSpec", "mine"),
    "retriever": ("RetrieverSpec", "mine"),
    "task loader": ("TaskLoaderSpec", "mine"),
    "model": ("ModelSpec", "mine"),
    "observer": ("ObserverSpec", "mine"),
}


@pytest.mark.parametrize("kind", HOOK_CALLS)
def test_every_hook_is_read(site: Path, kind: str) -> None:
    spec, name = HOOK_CALLS[kind]
    code = f"from harness import {spec}, hookimpl\n"
    code += f"@hookimpl\ndef {KINDS[kind]}():\n    return [{spec}('mine', 'S.', 'x:Y')]\n"
    module = f"hook_{kind.replace(' ', '_')}"
    found = load_plugins([distribution(site, module.replace("_", "-"), module, code)])
    assert found.names(kind) == [name], found.origins


def test_nearest() -> None:
    assert nearest("loraa", ["lora", "rag"]) == "Did you mean 'lora'?"
    assert nearest("zzz", ["lora", "rag"]) == "Known: lora, rag."


def test_listing_plugins_imports_nothing_heavy() -> None:
    import subprocess

    heavy = ("torch", "transformers", "peft", "lm_eval", "pydantic", "numpy", "scipy")
    code = (
        "import sys; from harness.plugins import load_plugins; load_plugins();"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
