"""What is trained, in three forms: an adapter inside the model, a soft prompt before it, or its own weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel, PromptLearningConfig
from torch import Tensor, nn

from harness.exceptions import ModelError
from harness.models.variant import Variant
from harness.training.adapters import adapter_parameters, merge_all, put_on, stack_of, take_off_last

TrainPart = Literal["all", "last_k_layers", "head", "embeddings_frozen"]


@dataclass
class Trainable:
    """`model`: the transformers causal language model, adapters inside. `parameters`: what the optimiser changes, by
    name. `compute_dtype`: number format of forward and backward; the optimiser always works in float32.
    `make_root`: the trained soft prompt [length, hidden] with gradient, or None. `fixed_root`: soft prompt rows of
    earlier deltas, which stand first and are not trained. `wrapper`, `adapter`: peft's model, for saving.
    """

    kind: Literal["peft", "soft_prompt", "weights"]
    model: Any
    parameters: dict[str, nn.Parameter]
    compute_dtype: torch.dtype
    make_root: Callable[[], Tensor] | None = None
    fixed_root: Tensor | None = None
    wrapper: PeftModel | None = None
    adapter: str = ""
    on_close: list[Callable[[], None]] = field(default_factory=list)  # run last to first

    @property
    def working_dtype(self) -> torch.dtype:
        """Number format in which the trained parameters enter the forward pass. Soft prompts are few: float32."""
        return torch.float32 if self.kind == "soft_prompt" else self.compute_dtype

    def root(self) -> Tensor | None:
        """The rows that stand before every sequence [length, hidden], or None."""
        made = self.make_root() if self.make_root is not None else None
        if made is None or self.fixed_root is None:
            return self.fixed_root if made is None else made
        return torch.cat([self.fixed_root.to(made.dtype), made])

    def variant(self) -> Variant:
        """The model as it is now, for the engines."""
        root = self.root()
        return Variant(self.model, None if root is None else root.detach())

    def modules(self) -> list[nn.Module]:
        """Modules whose training mode matters: the model, and the prompt encoder where there is one."""
        found: list[nn.Module] = [self.model]
        if self.kind == "soft_prompt" and self.wrapper is not None:
            found.append(self.wrapper.prompt_encoder)
        return found

    def close(self) -> None:
        """Takes the trained change off the model again: the model is what it was before."""
        while self.on_close:
            self.on_close.pop()()


def _only(model: Any, parameters: dict[str, nn.Parameter]) -> Callable[[], None]:
    """Gradients for these parameters only; returns what undoes it."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def undo() -> None:
        for parameter, flag in before:
            parameter.requires_grad_(flag)

    return undo


def _dtype(model: Any, compute_dtype: torch.dtype | None) -> torch.dtype:
    return compute_dtype or model.get_input_embeddings().weight.dtype


def lora_trainable(
    model: Any,
    peft_config: PeftConfig,
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    root: Tensor | None = None,
) -> Trainable:
    """Any peft method whose layers sit inside the model (LoRA, DoRA, IA3 …). The seed is set before the adapter is
    created. `root`: fixed soft prompt rows of an earlier delta. An earlier LoRA stays on, frozen."""
    if isinstance(peft_config, PromptLearningConfig):
        raise ModelError(f"{type(peft_config).__name__} trains a soft prompt, not layers inside the model.")
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    torch.manual_seed(seed)
    applied = put_on(model, peft_config)
    for name, parameter in adapter_parameters(applied):
        parameter.data = parameter.data.float()  # the optimiser's own copy
        if not parameter.is_floating_point():
            raise ModelError(f"adapter parameter {name} is no floating-point tensor.")
    parameters = dict(adapter_parameters(applied))
    _only(model, parameters)

    def take_off() -> None:
        take_off_last(model)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)

    return Trainable(
        "peft",
        model,
        parameters,
        _dtype(model, compute_dtype),
        fixed_root=root,
        wrapper=applied.wrapper,
        adapter=applied.adapter,
        on_close=[take_off],
    )


def soft_prompt_trainable(
    model: Any,
    peft_config: PeftConfig,
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    root: Tensor | None = None,
) -> Trainable:
    """Prompt tuning and p-tuning: peft makes, holds and saves the prompt; the loop feeds it as rows before every
    sequence. `root`: fixed rows of an earlier soft prompt, which stay in front."""
    kind = getattr(peft_config.peft_type, "value", str(peft_config.peft_type))
    if kind not in ("PROMPT_TUNING", "P_TUNING"):
        raise ModelError(f"{kind} is not a soft prompt of embeddings.")
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    torch.manual_seed(seed)
    import copy

    wrapper = PeftModel(model, copy.deepcopy(peft_config), autocast_adapter_dtype=False)
    encoder = wrapper.prompt_encoder["default"]
    encoder.float()
    parameters = {f"prompt_encoder.{name}": parameter for name, parameter in encoder.named_parameters()}
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def undo() -> None:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)

    return Trainable(
        "soft_prompt",
        model,
        parameters,
        _dtype(model, compute_dtype),
        make_root=lambda: wrapper.get_prompt(batch_size=1)[0],
        fixed_root=root,
        wrapper=wrapper,
        adapter="default",
        on_close=[undo],
    )


def weights_trainable(
    model: Any,
    train: TrainPart = "all",
    *,
    last_layers: int = 2,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    root: Tensor | None = None,
    keep_original: bool = True,
) -> Trainable:
    """The model's own weights: all, the last layers with what follows them, the vocabulary head (with tied weights
    also the embeddings), or all but the embeddings (with tied weights also not the head). Earlier adapters are merged
    first. `keep_original=False` saves one copy of the weights; `close` then cannot restore them."""
    torch.manual_seed(seed)
    depth = len(stack_of(model))
    merge_all(model)
    parameters = _part(model, train, last_layers)
    if not parameters:
        raise ModelError(f"train = {train!r} selects no weights of {type(model).__name__}.")
    on_close = [_only(model, parameters)]
    if keep_original:
        # Training gives the parameters new storage, so the old one stays as it is.
        originals = [(parameter, parameter.data) for parameter in parameters.values()]

        def restore() -> None:
            for parameter, data in originals:
                parameter.data = data

        on_close.append(restore)
    assert len(stack_of(model)) == depth
    return Trainable("weights", model, parameters, _dtype(model, compute_dtype), fixed_root=root, on_close=on_close)


def _part(model: Any, train: TrainPart, last_layers: int) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())  # tied weights once
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if train == "all":
        return named
    if train == "embeddings_frozen":
        frozen = {id(parameter) for parameter in embedding.parameters()}
        return {name: parameter for name, parameter in named.items() if id(parameter) not in frozen}
    if train == "head":
        if head is None:
            raise ModelError(f"{type(model).__name__} has no vocabulary head.")
        wanted = {id(parameter) for parameter in head.parameters()}
        return {name: parameter for name, parameter in named.items() if id(parameter) in wanted}
    layers = model.config.get_text_config().num_hidden_layers
    if not 1 <= last_layers <= layers:
        raise ModelError(f"last_layers = {last_layers} does not fit a model of {layers} layers.")
    pattern = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
    chosen = {}
    tied = {id(parameter) for parameter in embedding.parameters()}
    deepest_seen = False
    for name, parameter in named.items():
        match = pattern.search(f".{name}")
        if match is not None:
            if int(match[1]) >= layers - last_layers:
                chosen[name], deepest_seen = parameter, True
        elif deepest_seen and id(parameter) not in tied:  # the last norm, and a head of its own
            chosen[name] = parameter
    return chosen


def trainable_for(
    variant: Variant,
    method: PeftConfig | str,
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    keep_original: bool = True,
) -> Trainable:
    """The trainable for a method: a peft configuration, or "weights" (or "weights:" and a part, such as
    "weights:head" or "weights:last_k_layers:4"). Soft prompts of the variant stay in front, fixed. `keep_original`: see
    `weights_trainable`."""
    model, root = variant.model, variant.root
    if isinstance(method, str):
        name, _, part = method.partition(":")
        part, _, count = part.partition(":")
        if name != "weights" or (part or "all") not in TrainPart.__args__:  # type: ignore[attr-defined]
            raise ModelError(f"there is no training method {method!r}.")
        chosen: Any = part or "all"
        if root is not None:
            raise ModelError("a soft prompt cannot be followed by training of the model's own weights.")
        return weights_trainable(
            model,
            chosen,
            last_layers=int(count or 2),
            seed=seed,
            compute_dtype=compute_dtype,
            keep_original=keep_original,
        )
    make = soft_prompt_trainable if isinstance(method, PromptLearningConfig) else lora_trainable
    return make(model, method, seed=seed, compute_dtype=compute_dtype, root=root)
