r"""Monte Carlo EM: the E step draws from the posterior instead of writing it down.

EM's M step raises $\mathbb{E}_{p_\theta(z \mid x)}[\log p_\theta(x, z)]$ in $\theta$, whose gradient at the current
$\theta$ is $\nabla_\theta \log p_\theta(x)$ itself (Fisher's identity). Where the posterior has no closed form,
Hamiltonian Monte Carlo draws from it, and no encoder is needed (Wei and Tanner 1990; Kingma and Welling 2014, section 5
and appendix E, compare AEVB with it).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vaelib import checkpoints
from vaelib.checks import check_positive_integer, without_validation
from vaelib.hmc import evaluate, transition
from vaelib.marginal import check_estimate
from vaelib.models import LatentVariableModel
from vaelib.optimisers import make_optimiser, set_learning_rate
from vaelib.progress import progress_bar
from vaelib.runs import NonFiniteLossError, saving, seeded, shuffled


class MonteCarloEM:
    r"""Maximise the likelihood of images with one Markov chain for each of them; the model is changed in place.

    For each minibatch, its chains make one iteration of HMC towards $p_\theta(z \mid x)$ with the present $\theta$ (E),
    and the codes they reach serve for a few steps of Adagrad on the mean of $\log p_\theta(x, z)$ (M): 10 leapfrog
    steps, a step size tuned to an acceptance of 90 %, and 5 weight updates in the paper. The paper does not say where
    its chains start. Here each starts at a draw of the prior, once, and is kept from epoch to epoch: as $\theta$ moves
    little in between, a chain that has reached its posterior stays close to it. That takes a state for every image,
    and at least some epochs: the reason why the method is no on-line algorithm, and slow on large data sets.

    All chains share one step size $\epsilon$, which goes on adapting as the posteriors change: after each iteration
    $\log\epsilon$ moves by the mean acceptance probability of the minibatch minus its target. A step size that depends
    on the chains' past biases them a little; sharing one among many chains makes that dependence weak.

    Args:
        model: The model; its decoder learns, an encoder is not used.
        x: Images, shape (N, D), in the model's dtype and on its device.
        batch_size: M. The last minibatch of an epoch holds what remains.
        num_leapfrog: Leapfrog steps in an iteration.
        target_acceptance: The acceptance probability that the step size is tuned to.
        weight_updates: Gradient steps with each sample of codes.
        learning_rate: Adagrad's.
        weight_decay: This times the weights is added to the gradient: 1 / N for the prior N(0, I) over the weights.
        seed: Of the minibatches and all draws; the caller's random state is left as it was.

    Attributes:
        codes: Where the chains are, shape (N, K).
        step_size: The leapfrog step size.
        epoch: Epochs finished.
        rows: What `run` returns, a dict for each finished epoch.
        optimiser: Adagrad, with its state.

    Raises:
        TypeError: If x is not of the model's dtype and device.
        ValueError: If the likelihood cannot score x, or an argument is out of range.

    Example:
        >>> from vaelib.linear_gaussian import LinearGaussian
        >>> x = LinearGaussian.random(data_dim=5, latent_dim=2).marginal.sample((100,))
        >>> model = LinearGaussian.random(data_dim=5, latent_dim=2, seed=1)
        >>> MonteCarloEM(model, x).run(epochs=2, progress=False).columns.tolist()
        ['epoch', 'train_log_joint', 'acceptance', 'step_size']
    """

    def __init__(
        self,
        model: LatentVariableModel,
        x: Tensor,
        *,
        batch_size: int = 100,
        num_leapfrog: int = 10,
        target_acceptance: float = 0.9,
        weight_updates: int = 5,
        learning_rate: float = 0.02,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        check_estimate(model, x, num_samples=1)
        check_positive_integer("batch_size", batch_size)
        check_positive_integer("num_leapfrog", num_leapfrog)
        check_positive_integer("weight_updates", weight_updates)
        if not 0 < target_acceptance < 1:
            raise ValueError(f"target_acceptance must lie between 0 and 1, but is {target_acceptance!r}")
        self.model = model
        self.x = x
        self.batch_size = batch_size
        self.num_leapfrog = num_leapfrog
        self.target_acceptance = target_acceptance
        self.weight_updates = weight_updates
        self.seed = seed
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimiser = make_optimiser("adagrad", model.decoder.parameters(), weight_decay)
        set_learning_rate(self.optimiser, learning_rate)
        self.step_size = 0.1
        self.epoch = 0
        self.rows: list[dict[str, float]] = []
        # Of log p(x, z) and of the acceptance probabilities, for each step of the epoch under way.
        self._sums: list[tuple[float, float]] = []
        with seeded(seed, x.device):
            self.codes = model.prior.sample((len(x),))

    def run(
        self,
        epochs: int,
        *,
        progress: bool = True,
        checkpoint: Path | str | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> pd.DataFrame:
        """Go on until this many epochs are finished in all.

        Args:
            epochs: Passes over the images, those of earlier calls included.
            progress: Whether to show a progress bar.
            checkpoint: A folder for `last.pt`, the whole state of the run. If it holds one with the same settings, that
                run is continued in place of this one: on the same machine, bit for bit as if it had never stopped.
                Ctrl-C then saves before it stops.
            checkpoint_seconds: `last.pt` is written after each epoch, and within one when this long has passed.

        Returns:
            One row an epoch: `epoch`; `train_log_joint`, the mean of log p(x, z) over its images at the codes drawn, in
            nats, before their weight updates (an estimate of no bound); the mean `acceptance` probability; and the
            `step_size` at its end.

        Raises:
            NonFiniteLossError: If log p(x, z) stops being finite.
            CheckpointError: If the folder holds the state of another run, or a damaged one.
            TrainingInterrupted: After Ctrl-C, with `checkpoint`: the same calls go on from there.
            ValueError: If `epochs` is not a positive integer.
        """
        check_positive_integer("epochs", epochs)
        last = None if checkpoint is None else Path(checkpoint) / "last.pt"
        if last is not None and last.exists():
            self._restore(last)
        with (
            without_validation(),
            saving(last, self._save, checkpoint_seconds) as save,
            progress_bar(epochs, unit="epoch", initial=self.epoch, show=progress) as bar,
        ):
            while self.epoch < epochs:
                order = shuffled(len(self.x), self.seed, self.epoch, self.x.device)
                for rows in order.split(self.batch_size)[len(self._sums) :]:
                    self._step(rows)
                    save()
                self._finish_epoch()
                save(now=True)
                bar.update()
                bar.set_postfix(log_joint=f"{self.rows[-1]['train_log_joint']:.2f}")
        return pd.DataFrame(self.rows)

    def _step(self, rows: Tensor) -> None:
        # A seed for each step: what a step does depends on the state before it, and on no generator's.
        number = (1_000_003 * self.seed + self.epoch) * 1_000_003 + len(self._sums) + 1
        with seeded(number % 2**63, self.x.device):
            self._sums.append(self._e_step(rows))
            self._m_step(rows)

    def _finish_epoch(self) -> None:
        log_joint, acceptance = (sum(values) / len(self.x) for values in zip(*self._sums, strict=True))
        self.epoch += 1
        self._sums = []
        self.rows.append(
            {"epoch": self.epoch, "train_log_joint": log_joint, "acceptance": acceptance, "step_size": self.step_size}
        )

    def _e_step(self, rows: Tensor) -> tuple[float, float]:
        """One HMC iteration of these images' chains; the sums of log p(x, z) and of the acceptance probabilities."""
        x = self.x[rows]

        def log_density(z: Tensor) -> Tensor:
            return self.model.log_joint(x, z)

        start = evaluate(log_density, self.codes[rows])
        step_size = torch.full_like(start.log_density, self.step_size)
        end, acceptance = transition(log_density, start, step_size, self.num_leapfrog)
        log_joint = end.log_density.sum().item()
        if not math.isfinite(log_joint):
            raise NonFiniteLossError(
                f"log p(x, z) stopped being finite in epoch {self.epoch + 1}: try a smaller learning_rate"
            )
        self.codes[rows] = end.z
        self.step_size *= math.exp(acceptance.mean().item() - self.target_acceptance)
        return log_joint, acceptance.sum().item()

    def _m_step(self, rows: Tensor) -> None:
        """Some gradient steps on log p(x, z) with the codes held."""
        for _ in range(self.weight_updates):
            self.optimiser.zero_grad()
            (-self.model.log_joint(self.x[rows], self.codes[rows]).mean()).backward()
            self.optimiser.step()

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size, "num_leapfrog": self.num_leapfrog, "weight_updates": self.weight_updates,
            "target_acceptance": self.target_acceptance, "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay, "seed": self.seed, "images": len(self.x),
            "device": self.x.device.type,
        }  # fmt: skip

    def _save(self, path: Path) -> None:
        state = {
            "settings": self._settings,
            "decoder": self.model.decoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "codes": self.codes,
            "step_size": self.step_size,
            "epoch": self.epoch,
            "rows": self.rows,
            "sums": self._sums,
        }
        checkpoints.save(path, state)

    def _restore(self, path: Path) -> None:
        state = checkpoints.load(path)
        checkpoints.check_same_run(path, state.get("settings", {}), self._settings)
        self.model.decoder.load_state_dict(state["decoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.codes = state["codes"].to(self.x.device)
        self.step_size = state["step_size"]
        self.epoch = state["epoch"]
        self.rows = state["rows"]
        self._sums = state["sums"]
