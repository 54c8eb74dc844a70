"""Where a model's files are and what identifies them. No torch: `harness check` and the coordinator use this."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from harness.exceptions import ModelError

_WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".bin")


@dataclass(frozen=True)
class ModelSource:
    """`folder` holds the files; `gguf_file` names the one to dequantise; `digest` identifies weights, tokenizer and
    chat template. `label` is what reports print. `loglikelihoods`: whether the model can score given texts."""

    ref: str
    label: str
    folder: str
    digest: str
    gguf_file: str | None = None
    loglikelihoods: bool = True


def cache_folder() -> Path:
    """Where converted models and file digests are kept: $HARNESS_CACHE, else the user's cache folder."""
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaptation-harness"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time: weights are large and rarely change."""
    stat = path.stat()
    memory = cache_folder() / "digests" / (hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32] + ".json")
    mark = [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["mark"] == mark:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part = memory.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({"mark": mark, "sha256": digest}), encoding="utf-8")
        part.replace(memory)
    except OSError:  # a read-only cache costs time, nothing else
        pass
    return digest


def folder_digest(folder: Path) -> str:
    """Digest over the names and contents of all model files (weights, configuration, tokenizer, template)."""
    wanted = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and (path.suffix in (*_WEIGHT_SUFFIXES, ".json", ".jinja", ".model", ".txt"))
    ]
    total = hashlib.sha256()
    for path in wanted:
        total.update(f"{path.name}\0{file_digest(path)}\0".encode())
    return total.hexdigest()


def folder_source(ref: str, folder: Path) -> ModelSource:
    """A model in a local folder: transformers' format, or a single GGUF file."""
    if not (folder / "config.json").is_file():
        ggufs = sorted(path.name for path in folder.glob("*.gguf"))
        if len(ggufs) == 1:
            return ModelSource(ref, folder.name, str(folder), file_digest(folder / ggufs[0]), ggufs[0])
        raise ModelError(
            f"'{folder}' is not a model folder: it has no config.json and "
            + ("several GGUF files." if ggufs else "no GGUF file."),
            hint="Point [model] ref at a folder written by `save_pretrained`, or at a folder with one .gguf file.",
        )
    if not any(path.suffix in _WEIGHT_SUFFIXES for path in folder.iterdir()):
        raise ModelError(f"'{folder}' holds a config.json but no weights.", hint="Download the model files again.")
    return ModelSource(ref, folder.name, str(folder), folder_digest(folder))


def looks_like_path(ref: str) -> bool:
    return ref.startswith((".", "/", "~")) or (os.sep in ref and ref.count("/") != 1) or Path(ref).is_dir()


def hub_source(ref: str, *, download: bool) -> ModelSource:
    """A Hugging Face id: from the local hub cache, or downloaded when `download` (a run whose file names it)."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        folder = huggingface_hub.snapshot_download(ref, allow_patterns=patterns, local_files_only=not download)
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"model '{ref}' is not on this machine" + (" and could not be downloaded." if download else "."),
            hint=f"Fetch it once with `hf download {ref}`, or set [model] ref to a local folder or a bundled model.",
        ) from error
    except (RepositoryNotFoundError, HfHubHTTPError, ValueError) as error:
        raise ModelError(
            f"model '{ref}' cannot be fetched from the Hugging Face hub: {str(error).splitlines()[0]}",
            hint="Check the id (organisation/name), or log in with `hf auth login` for a gated model.",
        ) from error
    return ModelSource(ref, ref, folder, folder_digest(Path(folder)))
