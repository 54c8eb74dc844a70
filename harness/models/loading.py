"""Loads a model and its tokenizer; converts a GGUF file to safetensors once."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.exceptions import ModelError
from harness.models.chat import ChatFormat
from harness.models.source import ModelSource, cache_folder


@dataclass
class Loaded:
    """A model in memory. `window`: most tokens of prompt and answer together, None when the model states none;
    `folder`: where its files lie."""

    model: Any
    tokenizer: Any
    chat: ChatFormat
    device: str
    dtype: str
    window: int | None
    folder: str = ""
    notes: list[str] = field(default_factory=list)


def _quietly() -> None:
    """Progress bars and notices of the libraries would tear our own progress display."""
    import transformers

    # transformers warns of its own renaming whenever an attention implementation is switched.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def converted_folder(source: ModelSource) -> Path:
    """The folder with safetensors of a source: its own, or the converted copy of its GGUF file in the cache."""
    if source.gguf_file is None:
        return Path(source.folder)
    target = cache_folder() / "models" / source.digest[:16]
    if (target / "config.json").is_file():
        return target
    _quietly()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        arguments = {"gguf_file": source.gguf_file, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(source.folder, **arguments)
        model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.float32, **arguments)
        # The weights are plain float32 now; with the quantisation marks left on, save_pretrained refuses.
        model.hf_quantizer = None
        for name in ("is_quantized", "quantization_method"):
            if hasattr(model, name):
                setattr(model, name, None)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tokenizer.save_pretrained(part)
        model.save_pretrained(part)
        try:
            os.replace(part, target)
        except OSError:  # another process was faster
            if not (target / "config.json").is_file():
                raise
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"'{source.label}' cannot be converted from GGUF: {error}",
            hint="`pip install gguf` is needed, and about 600 MB of room in the cache folder ($HARNESS_CACHE).",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def bundled_model_folder(ref: str = "smollm2-135m-instruct") -> Path:
    """The converted bundled model; for measurements and tests."""
    from harness.models.resolve import resolve_model
    from harness.plugins import load_plugins

    return converted_folder(resolve_model(ref, load_plugins(), "."))


def load_model(source: ModelSource, *, device: str, dtype: str) -> Loaded:
    """Loads onto a device in a number format ("float32", "bfloat16", "float16"); never runs remote code."""
    _quietly()
    folder = converted_folder(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"model '{source.ref}' cannot be loaded from {folder}: {str(error).splitlines()[0]}",
            hint="A causal language model in transformers' format is needed; models with custom code are not run.",
        ) from error
    model.to(device)
    model.eval()
    chat = ChatFormat(tokenizer)
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Loaded(model, tokenizer, chat, device, dtype, window, str(folder), [chat.note] if chat.note else [])
