"""Which weights of a model a training touches, by name; all of it decided before the first step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from harness.exceptions import ModelError, nearest
from harness.training.settings import Weights

_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")


def _layer_of(name: str) -> int | None:
    match = _LAYER.search(f".{name}")
    return int(match[1]) if match is not None else None


def chosen_weights(model: Any, method: Weights) -> dict[str, nn.Parameter]:
    """The parameters that a method trains, by name, tied weights once. ModelError where it fits no weights."""
    named = dict(model.named_parameters())
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    embedded = {id(parameter) for parameter in embedding.parameters()}
    if method.train == "embeddings_frozen":
        named = {name: parameter for name, parameter in named.items() if id(parameter) not in embedded}
    elif method.train == "head":
        if head is None:
            raise ModelError(f"{type(model).__name__} has no vocabulary head.")
        wanted = {id(parameter) for parameter in head.parameters()}
        named = {name: parameter for name, parameter in named.items() if id(parameter) in wanted}
    elif method.train == "last_k_layers":
        named = _last_layers(model, named, method.last_layers, embedded)
    if not named:
        raise ModelError(f"train = {method.train!r} selects no weights of {type(model).__name__}.")
    return named


def _last_layers(
    model: Any, named: Mapping[str, nn.Parameter], count: int, embedded: set[int]
) -> dict[str, nn.Parameter]:
    """The last layers, the last norm, and a head of its own."""
    layers = model.config.get_text_config().num_hidden_layers
    if not 1 <= count <= layers:
        raise ModelError(
            f"last_layers = {count} does not fit a model of {layers} layers.", hint=f"Choose 1 to {layers}."
        )
    chosen: dict[str, nn.Parameter] = {}
    for name, parameter in named.items():
        layer = _layer_of(name)
        after = layer is None and chosen and id(parameter) not in embedded
        if after or (layer is not None and layer >= layers - count):
            chosen[name] = parameter
    return chosen


def unfreezing_stages(model: Any, parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
    """The stage at which each parameter joins a gradual unfreezing: 0 for the last layer and what follows it, then a
    stage for each layer down, and a last one for what stands before the layers (tied embeddings among it)."""
    present = sorted({layer for name in parameters if (layer := _layer_of(name)) is not None}, reverse=True)
    stage_of = {layer: stage for stage, layer in enumerate(present)}
    embedded = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    stages: dict[str, int] = {}
    below = True  # no layer has been passed yet
    for name, parameter in parameters.items():
        layer = _layer_of(name)
        if layer is not None:
            stages[name], below = stage_of[layer], False
        else:
            stages[name] = len(present) if below or id(parameter) in embedded else 0
    return stages


def check_targets(model: Any, wanted: str | Iterable[str] | None) -> None:
    """ModelError, with the nearest names, for an adapter's target that matches no module of the model. A text is
    "all-linear" or a regular expression over whole names; a list holds names or their last parts, as in peft."""
    if wanted is None or wanted == "all-linear":
        return
    names = [name for name, _ in model.named_modules()]
    if isinstance(wanted, str):
        try:
            found = any(re.fullmatch(wanted, name) for name in names)
        except re.error as error:
            raise ModelError(f"target_modules = {wanted!r} is no regular expression: {error}.") from error
        missing = [] if found else [wanted]
    else:
        missing = sorted(
            target for target in wanted if not any(name == target or name.endswith(f".{target}") for name in names)
        )
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        layers = {name.split(".")[-1] for name, module in model.named_modules() if not list(module.children())}
        raise ModelError(
            f"target_modules: no module of {type(model).__name__} is named {listed}.",
            hint=nearest(missing[0].split(".")[-1], layers),
        )
