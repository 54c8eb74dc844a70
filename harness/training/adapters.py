"""Adapters inside a model: put on, stacked, merged, taken off again. The model object is changed in place.

What stands on a model is kept on the model itself, so that deltas can be put on one after another and taken off in
reverse order. A LoRA on a LoRA is stacked (both run, the earlier frozen: exact in every number format). Where two
adapters cannot run side by side, the earlier is merged into the weights first, in training and in prediction alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn

from harness.exceptions import ModelError

_STACK = "_harness_deltas"


@dataclass
class Applied:
    """One delta on a model. `wrapper`, `adapter`: peft's model and the adapter's name while its layers are in place."""

    kind: str
    wrapper: PeftModel | None = None
    adapter: str = ""
    undo: list[Callable[[], None]] = field(default_factory=list)  # run last to first

    def take_off(self) -> None:
        while self.undo:
            self.undo.pop()()


def stack_of(model: Any) -> list[Applied]:
    """The deltas on a model, first to last."""
    stack: list[Applied] = model.__dict__.setdefault(_STACK, [])
    return stack


def take_off_last(model: Any) -> None:
    """Undoes the delta that was put on last; nothing happens on a bare model."""
    stack = stack_of(model)
    if stack:
        stack.pop().take_off()


def _live_wrapper(model: Any) -> PeftModel | None:
    """The peft model whose layers are in place now, if any."""
    wrappers = [applied.wrapper for applied in stack_of(model) if applied.wrapper is not None]
    return wrappers[-1] if wrappers else None


def _stacks(config: PeftConfig) -> bool:
    variants = ("use_dora", "use_qalora", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens")
    plain = not any(getattr(config, name, None) for name in variants) and getattr(config, "bias", "none") == "none"
    return config.peft_type == PeftType.LORA and plain


def put_on(model: Any, config: PeftConfig) -> Applied:
    """Creates a new adapter in the model (random numbers come from torch's generator) and notes it on the model."""
    config = copy.deepcopy(config)
    wrapper = _live_wrapper(model)
    if wrapper is not None and not (_stacks(config) and all(map(_stacks, wrapper.peft_config.values()))):
        merge_all(model)
        wrapper = None
    try:
        if wrapper is None:
            name = "default"
            wrapper = get_peft_model(model, config, adapter_name=name, autocast_adapter_dtype=False)
            applied = Applied("peft", wrapper, name, [lambda: _unload(model, wrapper)])
        else:
            name = f"delta{len(stack_of(model))}"
            _spell_out_targets(wrapper, config)
            wrapper.add_adapter(name, config, autocast_adapter_dtype=False)
            applied = Applied("peft", wrapper, name, [lambda: _remove(wrapper, name)])
    except ValueError as error:
        raise ModelError(str(error).splitlines()[0], hint="Target modules must name layers of the model.") from error
    wrapper.base_model.set_adapter(list(wrapper.peft_config))
    stack_of(model).append(applied)
    return applied


def adapter_parameters(applied: Applied) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that belong to one adapter, with their names in the peft model."""
    assert applied.wrapper is not None
    marker = f".{applied.adapter}"
    prefixes = applied.wrapper.base_model.prefix
    for name, parameter in applied.wrapper.named_parameters():
        own = prefixes in name and (f"{marker}." in name or name.endswith(marker))
        if own or f"modules_to_save{marker}" in name:
            yield name, parameter


def _unload(model: Any, wrapper: PeftModel) -> None:
    wrapper.unload()
    for name in ("peft_config", "_hf_peft_config_loaded"):
        model.__dict__.pop(name, None)


def _remove(wrapper: PeftModel, name: str) -> None:
    wrapper.delete_adapter(name)
    wrapper.base_model.set_adapter(list(wrapper.peft_config))


def _spell_out_targets(wrapper: PeftModel, config: PeftConfig) -> None:
    """`all-linear` would find the linear layers inside the earlier adapter: name the model's own instead."""
    if getattr(config, "target_modules", None) != "all-linear":
        return
    model = wrapper.get_base_model()
    output = model.get_output_embeddings()
    names: set[str] = set()
    inside: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        if isinstance(module, BaseTunerLayer):
            inside.append(f"{name}.")
            module = module.get_base_layer()
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and module is not output:
            names.add(name)
    config.target_modules = names


def merge_all(model: Any) -> None:
    """Folds the adapters in place into the weights; taking the deltas off restores the weights bit for bit."""
    wrapper = _live_wrapper(model)
    if wrapper is None:
        return
    saved: list[tuple[nn.Parameter, Tensor]] = []
    replaced: list[tuple[str, nn.Module]] = []
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            saved += [(parameter, parameter.data.clone()) for parameter in module.get_base_layer().parameters()]
        elif isinstance(module, ModulesToSaveWrapper):
            replaced.append((name, module.original_module))
    with torch.no_grad():
        wrapper.merge_and_unload()

    def restore() -> None:
        for parameter, data in saved:
            parameter.data = data
        for name, module in replaced:
            model.set_submodule(name, module)

    for name in ("peft_config", "_hf_peft_config_loaded"):
        model.__dict__.pop(name, None)
    # The merged adapters are one change of the weights now: the first of them undoes all.
    first = True
    for applied in stack_of(model):
        if applied.wrapper is wrapper:
            applied.wrapper, applied.undo = None, [restore] if first else []
            first = False
