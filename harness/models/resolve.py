"""From `[model] ref` to files: a model plugin's name, a folder, or a Hugging Face id. No torch."""

from __future__ import annotations

from pathlib import Path

from harness.exceptions import ModelError, PluginError
from harness.guard import blamed, expect
from harness.models.source import ModelSource, folder_source, hub_source, looks_like_path
from harness.plugins import Registry


def resolve_model(ref: str, registry: Registry, folder: str, *, download: bool = False) -> ModelSource:
    """Finds a model; relative folders start at `folder`, the experiment file's own."""
    if ref in registry.names("model"):
        entry = registry.get("model", ref)
        with blamed(entry.label, "finding its files"):
            found = entry.target()
        source: ModelSource = expect(entry.label, "finding its files", found, ModelSource)
        return source
    path = Path(folder, Path(ref).expanduser())
    if path.is_dir():
        return folder_source(ref, path)
    if looks_like_path(ref):
        raise ModelError(f"model folder '{path}' does not exist.", hint="Paths start at the experiment file's folder.")
    if ref.count("/") == 1:
        return hub_source(ref, download=download)
    try:
        registry.get("model", ref)  # for its hint: the nearest name, and plugins that failed to load
    except PluginError as error:
        hint = f"{error.hint} Or give a folder, or a Hugging Face id such as organisation/name."
        raise ModelError(error.message, hint=hint) from None
    raise AssertionError(ref)
