"""Float32 master weights, their working copies in the compute format, and one flat buffer for each.

Flat buffers make clipping, the optimiser step and the refresh of working copies one operation each, however many small
tensors an adapter has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.training.settings import TrainSettings
from harness.training.sink import GradientSink
from harness.training.trainable import Trainable


class _Group:
    """Parameters with the same weight decay that are unfrozen together, laid out one after another."""

    def __init__(self, parameters: list[nn.Parameter], decay: float, stage: int, working_dtype: torch.dtype) -> None:
        self.parameters, self.decay, self.stage = parameters, decay, stage
        size = sum(parameter.numel() for parameter in parameters)
        device = parameters[0].device
        self.master = torch.empty(size, dtype=torch.float32, device=device)
        self.grad = torch.zeros(size, dtype=torch.float32, device=device)
        mixed = working_dtype != torch.float32
        self.working = torch.empty(size, dtype=working_dtype, device=device) if mixed else self.master
        self.rest_dtypes = [parameter.dtype for parameter in parameters]
        self.slices: list[slice] = []
        start = 0
        for parameter in parameters:
            place = slice(start, start + parameter.numel())
            self.slices.append(place)
            self.master[place].copy_(parameter.data.flatten())
            start = place.stop
        self.refresh()
        self.sinks: list[GradientSink] = []
        for parameter, place in zip(parameters, self.slices, strict=True):
            parameter.data = self.working[place].view(parameter.shape)
            self.sinks.append(GradientSink.of(parameter, self.grad[place].view(parameter.shape)))

    def refresh(self) -> None:
        if self.working is not self.master:
            self.working.copy_(self.master)


class WorkingWeights:
    """Holds a trainable's weights while it trains. `release` ends it and leaves the trained values in the model."""

    def __init__(self, trainable: Trainable, settings: TrainSettings) -> None:
        self.trainable = trainable
        members: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in trainable.parameters.items():
            members.setdefault((trainable.stages.get(name, 0), parameter.dim() <= 1), []).append(parameter)
        dtype = trainable.working_dtype
        self._frozen: list[tuple[Any, Tensor]] = []
        self._freeze(trainable.compute_dtype)
        self.groups = [
            _Group(parameters, 0.0 if plain else settings.weight_decay, stage, dtype)
            for (stage, plain), parameters in sorted(members.items(), key=lambda item: item[0])
        ]
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(sink.take)
            for group in self.groups
            for parameter, sink in zip(group.parameters, group.sinks, strict=True)
        ]
        tensors = []
        for group in self.groups:
            tensor = nn.Parameter(group.master)
            tensor.grad = group.grad
            tensors.append({"params": [tensor], "weight_decay": group.decay})
        self.optimizer = torch.optim.AdamW(tensors, lr=settings.lr, betas=settings.betas, fused=True)
        self.max_grad_norm = settings.max_grad_norm

    def _freeze(self, dtype: torch.dtype) -> None:
        """Frozen weights are cast to the compute format once; their originals come back at the end."""
        trained = {id(parameter) for parameter in self.trainable.parameters.values()}
        for tensor in self.trainable.model.parameters():
            if id(tensor) not in trained and tensor.is_floating_point() and tensor.dtype != dtype:
                self._frozen.append((tensor, tensor.data))
                tensor.data = tensor.data.to(dtype)

    @property
    def stages(self) -> int:
        """Stages of a gradual unfreezing; 1 without."""
        return 1 + max(group.stage for group in self.groups)

    def unfreeze(self, stages: int) -> None:
        """Trains the first `stages` stages; the others get no gradient, no decay and no optimiser state."""
        for group, settings in zip(self.groups, self.optimizer.param_groups, strict=True):
            on = group.stage < stages
            settings["params"][0].grad = group.grad if on else None
            for parameter in group.parameters:
                parameter.requires_grad_(on)

    def _trained(self) -> list[bool]:
        """Per group, whether it is unfrozen."""
        return [settings["params"][0].grad is not None for settings in self.optimizer.param_groups]

    def step(self, lr: float, scale: float) -> float:
        """One optimiser step with gradients times `scale`; returns their norm before clipping."""
        groups = [group for group, on in zip(self.groups, self._trained(), strict=True) if on]
        for group in groups:
            for sink in group.sinks:
                sink.close()
        norm = torch.stack([group.grad.norm() for group in groups]).norm() * scale
        factor = torch.tensor(scale)
        if self.max_grad_norm is not None:
            factor = factor * torch.clamp(self.max_grad_norm / (norm.cpu() + 1e-6), max=1.0)
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        # The fused step divides gradients by this as it reads them: one pass over memory less than scaling them before.
        self.optimizer.grad_scale = (1 / factor).to(groups[0].grad.device)  # type: ignore[attr-defined]
        self.optimizer.step()
        for group in groups:
            group.refresh()
        return float(norm)

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, as flat tensors."""
        found = {}
        for number, (group, settings) in enumerate(zip(self.groups, self.optimizer.param_groups, strict=True)):
            found[f"master.{number}"] = group.master
            for name, value in self.optimizer.state[settings["params"][0]].items():
                found[f"{name}.{number}"] = value
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        for number, (group, settings) in enumerate(zip(self.groups, self.optimizer.param_groups, strict=True)):
            group.master.copy_(state[f"master.{number}"])
            group.refresh()
            names = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[settings["params"][0]] = {
                name: state[f"{name}.{number}"].clone() for name in names if f"{name}.{number}" in state
            }

    def snapshot(self) -> list[Tensor]:
        """A copy of the weights, in the format in which they will rest."""
        rest = torch.bfloat16 if self._rests_in_half() else torch.float32
        return [group.master.to(rest, copy=True) for group in self.groups]

    def _rests_in_half(self) -> bool:
        return all(dtype == torch.bfloat16 for group in self.groups for dtype in group.rest_dtypes)

    def load_snapshot(self, snapshot: list[Tensor]) -> None:
        for group, weights in zip(self.groups, snapshot, strict=True):
            group.master.copy_(weights)
            group.refresh()

    def release(self) -> None:
        """The trained values become the parameters' own, in the format they had before; frozen weights come back."""
        for hook in self._hooks:
            hook.remove()
        for group in self.groups:
            for parameter, place, dtype in zip(group.parameters, group.slices, group.rest_dtypes, strict=True):
                GradientSink.forget(parameter)
                parameter.grad = None
                parameter.data = group.master[place].view(parameter.shape).to(dtype, copy=True)
        for tensor, data in self._frozen:
            tensor.data = data
        self._hooks, self._frozen, self.groups = [], [], []
