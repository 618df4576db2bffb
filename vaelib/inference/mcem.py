r"""Monte Carlo EM: the E step draws from the posterior instead of writing it down.

EM's M step raises $\mathbb{E}_{p_\theta(z \mid x)}[\log p_\theta(x, z)]$ in $\theta$, whose gradient at the current
$\theta$ is $\nabla_\theta \log p_\theta(x)$ itself (Fisher's identity). Where the posterior has no closed form,
Hamiltonian Monte Carlo draws from it, and no encoder is needed (Wei and Tanner 1990; Kingma and Welling 2014, section 5
and appendix E, compare AEVB with it).
"""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor
from torch.optim import Adagrad

from vaelib.checks import check_positive_integer, without_validation
from vaelib.hmc import evaluate, transition
from vaelib.marginal import check_estimate
from vaelib.models import LatentVariableModel
from vaelib.progress import progress_bar
from vaelib.runs import NonFiniteLossError, seeded


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
        self.optimiser = Adagrad(model.decoder.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.step_size = 0.1
        self.epoch = 0
        with seeded(seed, x.device):
            self.codes = model.prior.sample((len(x),))

    def run(self, epochs: int, *, progress: bool = True) -> pd.DataFrame:
        """Go on for some epochs. Two calls are the same as one with the sum of their epochs.

        Args:
            epochs: Passes over the images.
            progress: Whether to show a progress bar.

        Returns:
            One row an epoch: `epoch`; `train_log_joint`, the mean of log p(x, z) over its images at the codes drawn, in
            nats, before their weight updates (an estimate of no bound); the mean `acceptance` probability; and the
            `step_size` at its end.

        Raises:
            NonFiniteLossError: If log p(x, z) stops being finite.
            ValueError: If `epochs` is not a positive integer.
        """
        check_positive_integer("epochs", epochs)
        rows = []
        with without_validation(), progress_bar(epochs, unit="epoch", show=progress) as bar:
            for _ in range(epochs):
                rows.append(self._run_epoch())
                bar.update()
                bar.set_postfix(log_joint=f"{rows[-1]['train_log_joint']:.2f}")
        return pd.DataFrame(rows)

    def _run_epoch(self) -> dict[str, float]:
        log_joint_sum = acceptance_sum = 0.0
        # A seed for each epoch: what an epoch does depends on the state before it, and on no generator's.
        with seeded(1_000_003 * self.seed + self.epoch + 1, self.x.device):
            for rows in torch.randperm(len(self.x), device=self.x.device).split(self.batch_size):
                log_joint, acceptance = self._e_step(rows)
                self._m_step(rows)
                log_joint_sum += log_joint
                acceptance_sum += acceptance
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "train_log_joint": log_joint_sum / len(self.x),
            "acceptance": acceptance_sum / len(self.x),
            "step_size": self.step_size,
        }

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
