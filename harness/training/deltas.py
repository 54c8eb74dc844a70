"""Deltas on disk: what a training leaves behind, in the formats that peft and transformers read, and back again."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.adaptation import canonical_json
from harness.exceptions import ModelError
from harness.models.variant import Variant
from harness.training.adapters import Applied, adapter_parameters, merge_all, put_on, stack_of, take_off_last
from harness.training.trainable import Trainable, prefix_tensor

ADAPTER = "adapter_model.safetensors"
WEIGHTS = "model.safetensors"
KINDS = ("peft", "soft_prompt", "prefix", "weights")


def save_delta(trainable: Trainable, folder: Path) -> dict[str, Any]:
    """Writes the trained delta; the folder appears whole or not at all and replaces an earlier one.

    Returns `kind`, `digest` (of tensors and configuration), `bytes`, `trainable_parameters`.
    Kind "weights" holds the trained tensors under their names in the model, and the model's config.json; with all
    weights trained that is a checkpoint transformers loads.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        if trainable.kind == "weights":
            tensors = {name: parameter.data for name, parameter in trainable.parameters.items()}
            trainable.model.config.save_pretrained(part)
            file = part / WEIGHTS
        else:
            assert trainable.wrapper is not None
            tensors = get_peft_model_state_dict(trainable.wrapper, adapter_name=trainable.adapter)
            _save_peft_config(trainable.wrapper.peft_config[trainable.adapter], part)
            file = part / ADAPTER
        tensors = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
        save_file(tensors, file, metadata={"format": "pt"})
        digest = _digest(part)
        size = sum(path.stat().st_size for path in part.iterdir())
        if folder.exists():
            shutil.rmtree(folder)
        part.chmod(0o755)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    count = sum(parameter.numel() for parameter in trainable.parameters.values())
    return {"kind": trainable.kind, "digest": digest, "bytes": size, "trainable_parameters": count}


def _save_peft_config(config: PeftConfig, folder: Path) -> None:
    """peft's adapter_config.json, marked for inference, with sets in a fixed order."""
    before = config.inference_mode
    config.inference_mode = True
    try:
        config.save_pretrained(folder)
    finally:
        config.inference_mode = before
    path = folder / "adapter_config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for name in ("target_modules", "modules_to_save", "exclude_modules", "feedforward_modules"):
        if isinstance(data.get(name), list):
            data[name] = sorted(data[name])
    path.write_text(json.dumps(data, indent=2, sort_keys=True), encoding="utf-8")


def _digest(folder: Path) -> str:
    """Of the tensors' file and the configuration, less what only says where the base model lay."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        whole.update(path.name.encode())
        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            for name in ("base_model_name_or_path", "_name_or_path", "tokenizer_name_or_path", "transformers_version"):
                data.pop(name, None)
            whole.update(canonical_json(data).encode())
        else:
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def load_delta(model: Any, kind: str, folder: Path, *, before: Variant | None = None) -> Variant:
    """Puts a saved delta on a model, in place for "peft" and "weights". `before`: the variant that earlier deltas made;
    its root stays in front. Adapters take the model's number format, in which they were trained."""
    if kind not in KINDS:
        raise ModelError(f"there is no delta of kind '{kind}'.", hint=f"Kinds: {', '.join(KINDS)}.")
    try:
        tensors = load_file(folder / (WEIGHTS if kind == "weights" else ADAPTER))
    except (OSError, ValueError) as error:
        raise ModelError(f"the {kind} delta in {folder} cannot be read: {error}") from error
    like = model.get_input_embeddings().weight
    root, prefix = (None, None) if before is None else (before.root, before.prefix)
    if kind in ("soft_prompt", "prefix"):
        rows = tensors["prompt_embeddings"].to(like.device, like.dtype)
        if kind == "prefix":
            made = prefix_tensor(rows, PeftConfig.from_pretrained(str(folder)))
            prefix = made if prefix is None else torch.cat([prefix, made], dim=3)
        else:
            root = rows if root is None else torch.cat([root, rows])
        stack_of(model).append(Applied(kind))
        return Variant(model, root, prefix)
    if kind == "weights":
        _load_weights(model, tensors)
    else:
        config = PeftConfig.from_pretrained(str(folder))
        applied = put_on(model, config)
        result = set_peft_model_state_dict(applied.wrapper, tensors, adapter_name=applied.adapter)
        if result.unexpected_keys:
            take_off_last(model)
            raise ModelError(f"the adapter in {folder} does not fit this model: {sorted(result.unexpected_keys)[:3]}")
        for _, parameter in adapter_parameters(applied):
            parameter.data = parameter.data.to(like.device, like.dtype)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model.eval()
    return Variant(model, root, prefix)


def _load_weights(model: Any, tensors: dict[str, Tensor]) -> None:
    merge_all(model)
    named = dict(model.named_parameters())
    strange = [name for name, tensor in tensors.items() if name not in named or named[name].shape != tensor.shape]
    if strange:
        raise ModelError(f"the weights do not fit this model: {strange[:3]}")
    before = [(named[name], named[name].data) for name in tensors]
    for name, tensor in tensors.items():
        parameter = named[name]
        parameter.data = tensor.to(parameter.device, parameter.dtype)

    def restore() -> None:
        for parameter, data in before:
            parameter.data = data

    stack_of(model).append(Applied("weights", undo=[restore]))


def unload_delta(model: Any) -> None:
    """Takes the last delta off: the model is, bit for bit, what it was before. Roots only leave the notes."""
    take_off_last(model)


@contextmanager
def applied(model: Any, deltas: Sequence[tuple[str, Path]]) -> Iterator[Variant]:
    """The model with deltas (kind, folder) put on in order; taken off again at the end, last to first."""
    depth = len(stack_of(model))
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    variant = Variant(model)
    try:
        for kind, folder in deltas:
            variant = load_delta(model, kind, folder, before=variant)
        yield variant
    finally:
        while len(stack_of(model)) > depth:
            unload_delta(model)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
