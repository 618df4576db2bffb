"""Training several models at once, for error bars over seeds.

Models that differ in nothing but the values of their weights are one computation on stacked weights: each parameter of
shape S becomes one tensor of shape `(E, *S)` for E members, `torch.func.vmap` carries the objective of a single model
over to the stack, and one optimiser moves all of it. As the optimisers work element by element, each member is trained
as `vaelib.training.fit` would train it.

What a member adds is its arithmetic; the overhead of every operation is paid once for the whole stack. Small models are
mostly overhead: on one core, 4 models of 64-32-2 train 1.4 times as fast as one after another, and 16 of them 3 times.
Wide layers keep a processor busy by themselves: 4 models of 784-400-20 take there as long as one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.optim import Optimizer

from vaelib.bounds import sgvb_b
from vaelib.checks import check_no_autocast, check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.optimisers import OptimiserName, ScheduleName, in_parts, learning_rates, make_optimiser, set_learning_rate
from vaelib.progress import progress_bar
from vaelib.runs import NonFiniteLossError, Objective, images_for, pixels, seeded, shuffled

__all__ = ["fit_ensemble"]


def fit_ensemble(
    models: Sequence[nn.Module],
    train: Tensor,
    test: Tensor | None = None,
    *,
    seeds: Sequence[int] | None = None,
    epochs: int,
    objective: Objective = sgvb_b,
    batch_size: int = 128,
    optimiser: OptimiserName = "adam",
    learning_rate: float | dict[str, float] = 1e-3,
    schedule: ScheduleName = "one-cycle",
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Do to each of several models what `vaelib.training.fit` does to one; the models are changed in place.

    Models of the same structure, that is, equal in all but the values of their parameters and buffers, are trained as
    one stack, and the stacks one after another: latent sizes 2, 2, 10, 10 make two stacks. Two models for which this
    equality cannot be established, because an attribute can be compared by identity only, are not stacked.

    Member i sees the minibatches of `fit(models[i], ..., seed=seeds[i])`, so that without noise its weights and its
    history are those of `fit` up to rounding. The draws of z are independent between members, but they come from one
    stream of random numbers for a whole stack, seeded by its first member: with noise a member agrees with `fit` in
    distribution only, and its draws depend on the models beside it. (One more difference: a parameter that the
    objective does not use has gradient zero here and none there, so that here weight decay reaches it.)

    Args:
        models: The members, which must not share parameters or buffers, and must have one dtype.
        train: Training images, shape (N, D), in floating point or as bytes, the same for all members.
        test: Test images, shape (N', D), likewise, on which the objective is evaluated after each epoch.
        seeds: One for each member, 0, 1, ... by default. It fixes the order of the images; members with the same seed
            still draw different z.
        epochs: Passes over the training images.
        objective: As in `fit`. It is called once for a whole stack, under `torch.func.vmap`: neither it nor a model may
            branch on the values of tensors or count its calls.
        batch_size: M, for each member.
        optimiser: As in `fit`.
        learning_rate: As in `fit`.
        schedule: As in `fit`.
        weight_decay: As in `fit`.
        max_grad_norm: As in `fit`, for the gradient of each member by itself.
        device: As in `fit`.
        progress: Whether to show a progress bar, one over all stacks.

    Returns:
        One row for each epoch and member, in this order: `epoch`, `member` (the place in `models`), `seed`, then the
        columns of `fit`'s history. This is the long form that seaborn draws error bands from.

    Raises:
        NonFiniteLossError: If a term stops being finite; the message names the member, the step and the term.
        ValueError: If there are no models, they share a parameter or have different dtypes, the seeds are not as many,
            a likelihood cannot score the images, or an argument is out of range.
        RuntimeError: As in `fit`.

    Example:
        >>> from vaelib.models import VAE
        >>> models = [VAE.mlp(6, (4,), latent_dim) for latent_dim in (1, 1, 2)]
        >>> history = fit_ensemble(models, torch.rand(32, 6).round(), epochs=2, progress=False)
        >>> history[["epoch", "member", "seed"]].to_numpy().tolist()
        [[1, 0, 0], [1, 1, 1], [1, 2, 2], [2, 0, 0], [2, 1, 1], [2, 2, 2]]
    """
    check_positive_integer("epochs", epochs)
    check_positive_integer("batch_size", batch_size)
    _check_members(models)
    seeds = list(range(len(models)) if seeds is None else seeds)
    if len(seeds) != len(models):
        raise ValueError(f"seeds must hold one seed for each of {len(models)} models, but holds {len(seeds)}")
    device = torch.device(device) if device is not None else default_device()
    check_no_autocast(device)
    for model in models:  # each checks the images by its own likelihood; the first puts them on the device
        model.to(device).train()
        train = images_for(model, "train", train, device)
        test = None if test is None else images_for(model, "test", test, device)

    peak, _ = in_parts(models[0].named_parameters(), learning_rate)
    rates = learning_rates(schedule, peak, epochs * -(-len(train) // batch_size)).view(epochs, -1).tolist()

    def make_stepper(trained: Iterable[tuple[str, Tensor]]) -> Optimizer:
        return make_optimiser(optimiser, in_parts(trained, learning_rate)[1], weight_decay)

    stacks = [
        _Stack({i: models[i] for i in members}, [seeds[i] for i in members], objective, max_grad_norm, make_stepper)
        for members in _alike(models)
    ]
    rows = []
    bar = progress_bar(epochs * len(stacks), unit="epoch", show=progress)
    for stack in stacks:
        with seeded(stack.seeds[0], device), without_validation():
            try:
                for epoch in range(epochs):
                    means = {"train": stack.train_epoch(epoch, rates[epoch], train, batch_size)}
                    if test is not None:
                        means["test"] = stack.evaluate(test)
                    rows += stack.rows(epoch, means)
                    bar.update()
                    bar.set_postfix({stack.fields[0]: f"{means['train' if test is None else 'test'][:, 0].mean():.2f}"})
            finally:
                stack.write_back()
    bar.close()
    return pd.DataFrame(rows).sort_values(["epoch", "member"], ignore_index=True)


State = dict[str, Tensor]


class _Stack:
    """Models of one structure under training, E of them.

    Attributes:
        members: The models by their place in the whole ensemble.
        trained: The stacked parameters that learn, each of shape (E, ...).
        fixed: The stacked buffers, and the parameters that do not require a gradient.
        fields: The names of the objective's terms, F of them, once it has been called.
    """

    def __init__(
        self,
        members: dict[int, nn.Module],
        seeds: list[int],
        objective: Objective,
        max_grad_norm: float | None,
        make_stepper: Callable[[Iterable[tuple[str, Tensor]]], Optimizer],
    ) -> None:
        self.members = members
        self.seeds = seeds
        self.fields: tuple[str, ...] = ()
        self._callables = [_Callable(model) for model in members.values()]
        first, slots = self._callables[0], _slots(self._callables[0])
        parameters, buffers = stack_module_state(self._callables)
        self.trained = {name: value for name, value in parameters.items() if value.requires_grad}
        self.fixed = buffers | {name: value for name, value in parameters.items() if not value.requires_grad}
        self.optimiser = make_stepper((name.removeprefix("model."), value) for name, value in self.trained.items())

        # The next two functions see one member; vmap turns them into functions of the stack.
        def loss(trained: State, fixed: State, x: Tensor) -> tuple[Tensor, tuple[Tensor, State]]:
            state = trained | fixed
            weights = {slot: state[name] for slot, (name, _) in slots.items()}
            # Left to find the ties itself, it does not restore a module that is used twice (pytorch issue 164759).
            terms = functional_call(first, weights, (objective, x), tie_weights=False)
            self.fields = terms._fields
            sums = torch.stack([term.sum() for term in terms])
            return -terms[0].mean(), (sums, {name: weights[name] for name in fixed})  # buffers may have changed

        def gradients(trained: State, fixed: State, x: Tensor) -> tuple[State, tuple[Tensor, State]]:
            # The gradient is taken inside vmap: outside, tensors have no hooks, and `iwae_dreg` needs one.
            gradient, (_, results) = grad_and_value(loss, has_aux=True)(trained, fixed, x)
            if max_grad_norm is not None:
                norm = torch.stack([part.norm() for part in gradient.values()]).norm()
                factor = (max_grad_norm / (norm + 1e-6)).clamp(max=1)  # as in torch's clip_grad_norm_
                gradient = {name: factor * part for name, part in gradient.items()}
            return gradient, results

        self._gradients = vmap(gradients, randomness="different")
        self._loss = vmap(loss, in_dims=(0, 0, None), randomness="different")

    def train_epoch(self, epoch: int, rates: list[float], train: Tensor, batch_size: int) -> Tensor:
        """Take the gradient steps of an epoch; the mean of each term over its images, shape (E, F), on the CPU."""
        order = torch.stack([shuffled(len(train), seed, epoch, train.device) for seed in self.seeds])
        sums = []  # on the device until the epoch is over: reading one would make the processor wait for it
        for rows, rate in zip(order.split(batch_size, dim=1), rates, strict=True):
            with torch.no_grad():  # grad_and_value differentiates nevertheless; autograd need not do it once more
                gradients, (terms, self.fixed) = self._gradients(self.trained, self.fixed, self._pixels(train[rows]))
            for name, parameter in self.trained.items():
                parameter.grad = gradients[name].contiguous()  # fused Adam takes it for laid out like the parameter
            set_learning_rate(self.optimiser, rate)
            self.optimiser.step()
            sums.append(terms)
        trace = torch.stack(sums).double().cpu()
        self._check_finite(epoch, trace)
        return trace.sum(0) / len(train)

    @torch.no_grad()
    def evaluate(self, x: Tensor, batch_size: int = 1000) -> Tensor:
        """The mean of each term over images x (N', D), the models in evaluation mode: shape (E, F), on the CPU."""
        self._callables[0].eval()
        batches = x.split(max(1, batch_size // len(self.members)))
        sums = [self._loss(self.trained, self.fixed, self._pixels(batch))[1][0] for batch in batches]
        self._callables[0].train()
        return torch.stack(sums).double().sum(0).cpu() / len(x)

    def rows(self, epoch: int, means: dict[str, Tensor]) -> list[dict[str, float]]:
        """The rows of the history for means of shape (E, F), "train" and perhaps "test"."""
        columns = ["epoch", "member", "seed", *(f"{part}_{field}" for part in means for field in self.fields)]
        values = torch.cat(list(means.values()), dim=1).tolist()
        rows = zip(self.members, self.seeds, values, strict=True)
        return [dict(zip(columns, (epoch + 1, i, seed, *row), strict=True)) for i, seed, row in rows]

    @torch.no_grad()
    def write_back(self) -> None:
        """Give each model its slice of the stack."""
        state = self.trained | self.fixed
        for i, model in enumerate(self._callables):
            for name, value in _slots(model).values():
                value.copy_(state[name][i])

    def _pixels(self, x: Tensor) -> Tensor:
        return pixels(x, next(iter(self.trained.values())).dtype)

    def _check_finite(self, epoch: int, trace: Tensor) -> None:
        """Raise unless the sums of an epoch's steps, shape (steps, E, F), are finite."""
        bad = ~torch.isfinite(trace)
        if bad.any():
            step, place, _ = bad.nonzero()[0].tolist()
            names = [name for name, is_bad in zip(self.fields, bad[step, place], strict=True) if is_bad]
            # The objective is the first field; if one of its parts is listed too, that part is to blame.
            raise NonFiniteLossError(
                f"member {list(self.members)[place]} (seed {self.seeds[place]}) stopped being finite at step "
                f"{step + 1} of epoch {epoch + 1}: {', '.join(names[1:] or names)} went first. Try a smaller "
                "learning_rate or a max_grad_norm; if it persists, look for a log-variance that overflows exp"
            )


class _Callable(nn.Module):
    """A model that is called with a function of it: `functional_call` puts other weights into a call, not a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Objective, x: Tensor) -> Any:
        return function(self.model, x)


def _check_members(models: Sequence[nn.Module]) -> None:
    """Raise `ValueError` unless there are models, each with weights of its own, and of one dtype."""
    if not models:
        raise ValueError("models must hold at least one model, but is empty")
    owners: dict[int, int] = {}
    for i, model in enumerate(models):
        for name, value in _slots(model).values():
            owner = owners.setdefault(id(value), i)
            if owner != i:
                raise ValueError(
                    f"models must not share weights, but models[{i}] has its {name} from models[{owner}]: give each "
                    "member its own, with copy.deepcopy"
                )
    dtypes = {next(model.parameters()).dtype for model in models}
    if len(dtypes) > 1:
        raise ValueError(
            f"models must have one dtype, but have {', '.join(sorted(map(str, dtypes)))}: convert with .to()"
        )


def _alike(models: Sequence[nn.Module]) -> list[list[int]]:
    """The places of the models in groups of one structure, in order of appearance."""
    groups: list[list[int]] = []
    for i, model in enumerate(models):
        group = next((group for group in groups if _same_structure(models[group[0]], model)), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(i)
    return groups


def _same_structure(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models are surely the same but for their weights: to train them apart is never wrong, only slower."""
    try:
        return bool(_structure(one) == _structure(other))
    except (RuntimeError, ValueError):  # from attributes that are tensors or arrays, whose == is no yes or no
        return False


def _structure(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that a model computes with, but for the values of its parameters and buffers.

    Names and shapes do not suffice: an activation has no parameters, and `GaussianDecoder.sigmoid_mean` leaves no
    trace in repr. So these are the class and the attributes of each module, what is tied to what, and the shape of each
    parameter and buffer.
    """
    first: dict[int, str] = {}
    modules: dict[str, Any] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        attributes = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
        modules[name] = (first.setdefault(id(module), name), type(module), attributes)
    slots = _slots(model).items()
    return modules, {slot: (name, value.shape, value.dtype, value.requires_grad) for slot, (name, value) in slots}


def _slots(model: nn.Module) -> dict[str, tuple[str, Tensor]]:
    """Every place in a model that holds a parameter or buffer, with the first name of what it holds, and that."""
    first: dict[int, str] = {}
    slots = {}
    for prefix, module in model.named_modules():  # each module once, even where it occurs twice
        for named in (module.named_parameters, module.named_buffers):
            for name, value in named(prefix, recurse=False, remove_duplicate=False):
                slots[name] = (first.setdefault(id(value), name), value)
    return slots
