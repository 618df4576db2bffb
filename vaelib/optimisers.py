"""The optimisers and learning-rate schedules of a training run, by name.

Both are made so that a step can be recorded as a CUDA graph: there, the learning rate is a tensor that a step reads on
the device, and nothing else that a step depends on lives in Python.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

OptimiserName = Literal["adam", "adagrad"]
Kind = TypeVar("Kind", bound=Optimizer)
ScheduleName = Literal["one-cycle", "linear", "constant"]

WARM_UP = {"one-cycle": 0.3, "linear": 0.1}
"""The part of the steps in which a schedule rises to its peak."""


class Adagrad(Optimizer):
    r"""Each coordinate moves by $-\eta g_t / (\sqrt{\sum_{s \le t} g_s^2} + \epsilon)$ (Duchi, Hazan and Singer 2011).

    `torch.optim.Adagrad` takes the same steps, but counts them in Python, and so cannot be recorded as a CUDA graph. On
    a processor it is the faster one, as it goes through the weights once.

    Args:
        parameters: What learns, tensors of any shape.
        lr: $\eta$, a number or a tensor of shape ().
        weight_decay: This times the weights is added to the gradient.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float | Tensor, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along the gradients; `closure` is not used."""
        for group in self.param_groups:
            parameters = tuple(parameter for parameter in group["params"] if parameter.grad is not None)
            gradients = tuple(parameter.grad for parameter in parameters)
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["sum"] = torch.zeros_like(parameter)
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
            sums = tuple(self.state[parameter]["sum"] for parameter in parameters)
            torch._foreach_addcmul_(sums, gradients, gradients)
            lengths = torch._foreach_sqrt(sums)
            torch._foreach_add_(lengths, 1e-10)
            steps = torch._foreach_div(gradients, lengths)
            torch._foreach_mul_(steps, group["lr"])
            torch._foreach_sub_(parameters, steps)


def _not_compiled(optimiser: type[Kind]) -> type[Kind]:
    """The same optimiser without the decorators that import torch's compiler at the first call.

    They are there to keep it away from what it could not compile, and nothing is compiled here; the import takes longer
    than an epoch of a small model.
    """
    names = "add_param_group", "zero_grad", "step", "state_dict", "load_state_dict"
    bare = {name: inspect.unwrap(getattr(optimiser, name)) for name in names}
    return type(optimiser.__name__, (optimiser,), {**bare, "step": torch.no_grad()(bare["step"])})


def in_parts(
    parameters: Iterable[tuple[str, Tensor]], learning_rate: float | dict[str, float]
) -> tuple[float, list[dict[str, Any]]]:
    """The largest learning rate, and a model's parameters in groups, each with its `share` of that rate.

    Args:
        parameters: Tensors of any shape with their names, as from `named_parameters`. A name begins with that of a
            part, "encoder" or "decoder" in a `vaelib.models.VAE`.
        learning_rate: One for all, or one for each part that learns by its name.

    Raises:
        ValueError: If such a part has no rate, a rate no part, or one of several is not above 0.
    """
    if not isinstance(learning_rate, dict):
        return learning_rate, [{"params": [parameter for _, parameter in parameters], "share": 1.0}]
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            parts.setdefault(name.split(".")[0], []).append(parameter)
    if parts.keys() != learning_rate.keys() or min(learning_rate.values()) <= 0:
        raise ValueError(
            f"learning_rate must be a number, or give one above 0 to each part of the model that learns, "
            f"{sorted(parts)}, but is {learning_rate}"
        )
    peak = max(learning_rate.values())
    return peak, [{"params": part, "share": learning_rate[name] / peak} for name, part in parts.items()]


def make_optimiser(
    name: OptimiserName, parameters: Iterable[Tensor] | list[dict[str, Any]], weight_decay: float
) -> Optimizer:
    """The optimiser of this name for parameters of any shape, or for groups of them as `in_parts` makes.

    `weight_decay` times the parameters is added to the gradient.

    Raises:
        ValueError: If there is none of this name.
    """
    groups: list[Any] = list(parameters)
    if groups and isinstance(groups[0], Tensor):
        groups = [{"params": groups, "share": 1.0}]
    on_cuda = bool(groups) and groups[0]["params"][0].is_cuda
    if on_cuda:  # a tensor for each, as each has its own rate
        groups = [{**group, "lr": torch.zeros((), device=group["params"][0].device)} for group in groups]
    if name == "adam":
        return _not_compiled(Adam)(groups, lr=0.0, weight_decay=weight_decay, fused=True, capturable=on_cuda)
    if name == "adagrad":
        if on_cuda:
            return Adagrad(groups, lr=0.0, weight_decay=weight_decay)
        return _not_compiled(torch.optim.Adagrad)(groups, lr=0.0, weight_decay=weight_decay, fused=True)
    raise ValueError(f'optimiser must be "adam" or "adagrad", but is {name!r}')


def set_learning_rate(optimiser: Optimizer, rate: float | Tensor) -> None:
    """Give each group its share of this rate, a number or a tensor of shape () on the parameters' device."""
    for group in optimiser.param_groups:
        own = rate * group.get("share", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = float(own)


def learning_rates(name: ScheduleName, peak: float, steps: int) -> Tensor:
    r"""The learning rate of each step, float64, shape (steps,).

    "one-cycle" (Smith and Topin 2018, https://arxiv.org/abs/1708.07120) rises from peak / 25 to its peak in the first
    30 % of the steps, and falls to peak / 250,000 in the rest, each along half a cosine. "linear" goes up in the first
    10 % and down in the rest by equal parts, from 0 and to 0, where neither of the two is a step; the descent is that
    of Defazio and others (2023, https://arxiv.org/abs/2310.07831). "constant" stays at the peak.

    Raises:
        ValueError: If there is no schedule of this name.

    Example:
        >>> learning_rates("one-cycle", 0.006, 11).numpy().round(4)
        array([0.0002, 0.0025, 0.0058, 0.0059, 0.0053, 0.0044, 0.0032, 0.002 ,
               0.0009, 0.0002, 0.    ])
        >>> learning_rates("linear", 0.006, 11).numpy().round(4)
        array([0.003 , 0.006 , 0.0054, 0.0048, 0.0042, 0.0036, 0.003 , 0.0024,
               0.0018, 0.0012, 0.0006])
    """
    if name == "constant":
        return torch.full((steps,), peak, dtype=torch.float64)
    step = torch.arange(steps, dtype=torch.float64)
    if name == "linear":
        rising = math.ceil(WARM_UP["linear"] * steps)
        return peak * torch.minimum((step + 1) / rising, (steps - step) / (steps - rising + 1))
    if name != "one-cycle":
        raise ValueError(f'schedule must be "one-cycle", "linear" or "constant", but is {name!r}')
    top, start, end = WARM_UP["one-cycle"] * steps - 1, peak / 25, peak / 250_000
    up = peak + (start - peak) * (1 + torch.cos(torch.pi * step / top)) / 2
    down = end + (peak - end) * (1 + torch.cos(torch.pi * (step - top) / (steps - 1 - top))) / 2
    return torch.where(step <= top, up, down)
