"""What is trained: an adapter inside the model, what stands before every sequence, or the model's own weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel, PrefixTuningConfig, PromptLearningConfig
from torch import Tensor, nn
from transformers import DynamicCache

from harness.exceptions import ModelError
from harness.models.variant import Variant
from harness.training.adapters import adapter_parameters, merge_all, put_on, stack_of, take_off_last
from harness.training.parts import check_targets, chosen_weights, unfreezing_stages
from harness.training.settings import Prefix, TrainPart, Weights


@dataclass
class Trainable:
    """`model`: the transformers causal language model, adapters inside. `parameters`: what the optimiser changes, by
    name. `compute_dtype`: number format of forward and backward; the optimiser always works in float32. `make_root`:
    the trained root with gradient: rows [length, hidden] of a soft prompt, key-values (see `Variant`) of a prefix; None
    for other kinds. `fixed`: soft prompt or prefix of earlier deltas, which stand first and are not trained. `wrapper`,
    `adapter`: peft's model, for saving. `stages`: for gradual unfreezing, the stage at which each parameter joins;
    `unfreeze_over`: the share of the steps over which they do.
    """

    kind: Literal["peft", "soft_prompt", "prefix", "weights"]
    model: Any
    parameters: dict[str, nn.Parameter]
    compute_dtype: torch.dtype
    make_root: Callable[[], Tensor] | None = None
    fixed: Variant | None = None
    wrapper: PeftModel | None = None
    adapter: str = ""
    stages: Mapping[str, int] = field(default_factory=dict)
    unfreeze_over: float = 0.0
    on_close: list[Callable[[], None]] = field(default_factory=list)  # run last to first

    @property
    def working_dtype(self) -> torch.dtype:
        """Number format in which the trained parameters enter the forward pass. Roots are small: float32."""
        return torch.float32 if self.make_root is not None else self.compute_dtype

    def root(self) -> Tensor | None:
        """The rows that stand before every sequence [length, hidden], or None."""
        return self._joined("soft_prompt", None if self.fixed is None else self.fixed.root, 0)

    def prefix(self) -> Tensor | None:
        """The key-values that stand before every sequence (see `Variant`), or None."""
        return self._joined("prefix", None if self.fixed is None else self.fixed.prefix, 3)

    def _joined(self, kind: str, fixed: Tensor | None, dimension: int) -> Tensor | None:
        made = self.make_root() if self.make_root is not None and self.kind == kind else None
        if made is None or fixed is None:
            return fixed if made is None else made
        return torch.cat([fixed.to(made.dtype), made], dim=dimension)

    def variant(self) -> Variant:
        """The model as it is now, for the engines."""
        root, prefix = self.root(), self.prefix()
        return Variant(self.model, None if root is None else root.detach(), None if prefix is None else prefix.detach())

    def modules(self) -> list[nn.Module]:
        """Modules whose training mode matters: the model, and the prompt encoder where there is one."""
        found: list[nn.Module] = [self.model]
        if self.make_root is not None and self.wrapper is not None:
            found.append(self.wrapper.prompt_encoder)
        return found

    def close(self) -> None:
        """Takes the trained change off the model again: the model is what it was before."""
        while self.on_close:
            self.on_close.pop()()


Flags = Sequence[tuple[nn.Parameter, bool]]


def _flags(model: Any) -> Flags:
    """Which parameters want gradients: to be noted before peft freezes the model."""
    return [(parameter, parameter.requires_grad) for parameter in model.parameters()]


def _only(flags: Flags, parameters: Mapping[str, nn.Parameter]) -> Callable[[], None]:
    """Gradients for these parameters only; returns what gives the model's parameters their flags back."""
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def undo() -> None:
        for parameter, flag in flags:
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
    fixed: Variant | None = None,
) -> Trainable:
    """Any peft method whose layers sit inside the model (LoRA, DoRA, IA3 …). The seed is set before the adapter is
    created. `fixed`: soft prompt or prefix of an earlier delta. An earlier LoRA stays on, frozen."""
    if isinstance(peft_config, PromptLearningConfig):
        raise ModelError(f"{type(peft_config).__name__} trains a soft prompt, not layers inside the model.")
    check_targets(model, getattr(peft_config, "target_modules", None))
    flags = _flags(model)
    torch.manual_seed(seed)
    applied = put_on(model, peft_config)
    for name, parameter in adapter_parameters(applied):
        parameter.data = parameter.data.float()  # the optimiser's own copy
        if not parameter.is_floating_point():
            raise ModelError(f"adapter parameter {name} is no floating-point tensor.")
    parameters = dict(adapter_parameters(applied))
    return Trainable(
        "peft",
        model,
        parameters,
        _dtype(model, compute_dtype),
        fixed=fixed,
        wrapper=applied.wrapper,
        adapter=applied.adapter,
        on_close=[_only(flags, parameters), lambda: take_off_last(model)],
    )


def soft_prompt_trainable(
    model: Any,
    peft_config: PeftConfig,
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    fixed: Variant | None = None,
) -> Trainable:
    """Prompt tuning, p-tuning and prefix tuning: peft makes, holds and saves the prompt; the loop feeds it as rows, or
    as key-values, before every sequence. `fixed`: an earlier prompt of the same kind, which stays in front."""
    method = getattr(peft_config.peft_type, "value", str(peft_config.peft_type))
    if method not in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"):
        raise ModelError(f"{method} is not a soft prompt.")
    kind: Literal["soft_prompt", "prefix"] = "prefix" if method == "PREFIX_TUNING" else "soft_prompt"
    if kind == "prefix" and getattr(model, "_is_stateful", False):
        raise ModelError(f"{type(model).__name__} keeps no key-values: prefix tuning needs them.")
    other = None if fixed is None else (fixed.root if kind == "prefix" else fixed.prefix)
    if other is not None:
        raise ModelError("a soft prompt and a prefix cannot stand before one sequence.", hint="Keep one of them.")
    flags = _flags(model)
    torch.manual_seed(seed)
    wrapper = PeftModel(model, copy.deepcopy(peft_config), autocast_adapter_dtype=False)
    encoder = wrapper.prompt_encoder["default"]
    encoder.float()
    parameters = {f"prompt_encoder.{name}": parameter for name, parameter in encoder.named_parameters()}
    config = wrapper.peft_config["default"]

    def rows() -> Tensor:
        return wrapper.get_prompt(batch_size=1)[0]

    def key_values() -> Tensor:
        return prefix_tensor(encoder(torch.arange(config.num_virtual_tokens, device=flags[0][0].device)), config)

    return Trainable(
        kind,
        model,
        parameters,
        _dtype(model, compute_dtype),
        make_root=key_values if kind == "prefix" else rows,
        fixed=fixed,
        wrapper=wrapper,
        adapter="default",
        on_close=[_only(flags, parameters)],
    )


def prefix_tensor(flat: Tensor, config: Any) -> Tensor:
    """peft's rows [length, layers * 2 * key-value heads * head size] as a variant's prefix."""
    layers, heads = config.num_layers, config.num_attention_heads
    return flat.view(len(flat), layers, 2, heads, -1).permute(1, 2, 3, 0, 4)


def prefix_trainable(model: Any, method: Prefix, **options: Any) -> Trainable:
    """Prefix tuning, started from the key-values of tokens where the method names some. `options`: those of
    `soft_prompt_trainable`."""
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=method.tokens)
    trainable = soft_prompt_trainable(model, config, **options)
    if method.init_ids:
        repeated = [method.init_ids[place % len(method.init_ids)] for place in range(method.tokens)]
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            ids = torch.tensor([repeated], device=model.get_input_embeddings().weight.device)
            model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            start = torch.stack([torch.cat([layer.keys, layer.values]) for layer in cache.layers])
            (weight,) = trainable.parameters.values()
            weight.copy_(start.permute(3, 0, 1, 2, 4).reshape(weight.shape))
    return trainable


def weights_trainable(
    model: Any,
    train: TrainPart | Weights = "all",
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    keep_original: bool = True,
) -> Trainable:
    """The model's own weights, or a part of them (see `Weights`). Earlier adapters are merged first.
    `keep_original=False` saves one copy of the weights; `close` then cannot restore them."""
    method = train if isinstance(train, Weights) else Weights(train)
    torch.manual_seed(seed)
    depth = len(stack_of(model))
    merge_all(model)
    parameters = chosen_weights(model, method)
    on_close = [_only(_flags(model), parameters)]
    if keep_original:
        # Training gives the parameters new storage, so the old one stays as it is.
        originals = [(parameter, parameter.data) for parameter in parameters.values()]

        def restore() -> None:
            for parameter, data in originals:
                parameter.data = data

        on_close.append(restore)
    assert len(stack_of(model)) == depth
    return Trainable(
        "weights",
        model,
        parameters,
        _dtype(model, compute_dtype),
        stages=unfreezing_stages(model, parameters) if method.unfreeze_over else {},
        unfreeze_over=method.unfreeze_over,
        on_close=on_close,
    )


def trainable_for(
    variant: Variant,
    method: PeftConfig | Prefix | Weights | Literal["weights"],
    *,
    seed: int = 0,
    compute_dtype: torch.dtype | None = None,
    keep_original: bool = True,
) -> Trainable:
    """The trainable for a method; "weights" is short for `Weights()`. What stands before the variant's sequences stays
    in front, fixed. `keep_original`: see `weights_trainable`."""
    model = variant.model
    if method == "weights":
        method = Weights()
    if isinstance(method, Weights):
        if variant.root_length:
            raise ModelError("a soft prompt cannot be followed by training of the model's own weights.")
        return weights_trainable(model, method, seed=seed, compute_dtype=compute_dtype, keep_original=keep_original)
    make: Callable[..., Trainable]
    if isinstance(method, Prefix):
        make = prefix_trainable
    elif isinstance(method, PeftConfig):
        make = soft_prompt_trainable if isinstance(method, PromptLearningConfig) else lora_trainable
    else:
        raise ModelError(
            f"there is no training method {method!r}.",
            hint="Give a peft configuration, harness.training.settings.Weights or Prefix.",
        )
    return make(model, method, seed=seed, compute_dtype=compute_dtype, fixed=variant)
