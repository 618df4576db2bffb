r"""The wake-sleep algorithm (Hinton, Dayan, Frey and Neal 1995, https://doi.org/10.1126/science.7761831).

It trains the same two networks as AEVB, and is what Kingma and Welling (2014, section 5) compare with:

- *wake*: infer $z \sim q_\phi(z \mid x)$ for an image, and raise $\log p_\theta(x, z)$ in $\theta$;
- *sleep*: dream $\tilde z \sim p(z)$, $\tilde x \sim p_\theta(x \mid \tilde z)$, and raise
  $\log q_\phi(\tilde z \mid \tilde x)$ in $\phi$.

The wake phase ascends the ELBO in $\theta$. The sleep phase does not in $\phi$: it descends
$\mathbb{E}_{p_\theta(x)}[\mathrm{KL}(p_\theta(z \mid x) \,\|\, q_\phi(z \mid x))]$, with the divergence the other way
round and over dreams instead of data. No gradient crosses a draw, so codes and images may be discrete as well. The two
objectives are not the two parts of one function; with an encoder that can be exact, both are at rest at a maximum of
the likelihood.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.models import VAE


class WakeSleep(NamedTuple):
    """What `wake_sleep` returns, each of shape (B,), in nats.

    Attributes:
        wake_plus_sleep: The sum that is maximised. It bounds nothing: its gradient is what it is for.
        wake: log p(x, z) of each image with a code drawn from the encoder; its gradient is in theta alone.
        sleep: log q(z|x) of one dream for each image, a density over codes; its gradient is in phi alone.
        elbo: SGVB estimator A of the images' bound, at the codes of the wake phase, without a gradient: the number to
            compare with other methods.
    """

    wake_plus_sleep: Tensor
    wake: Tensor
    sleep: Tensor
    elbo: Tensor


def wake_sleep(model: VAE, x: Tensor) -> WakeSleep:
    r"""Both phases at once: one code for each image, and as many dreams. An objective for `vaelib.training.fit`.

    One gradient serves for both, as they are in different parameters:
    $\mathbb{E}_{q_\phi(z \mid x)}[\nabla_\theta \log p_\theta(x, z)]$ and
    $\mathbb{E}_{p_\theta(\tilde x, \tilde z)}[\nabla_\phi \log q_\phi(\tilde z \mid \tilde x)]$.

    Dreams are draws of the likelihood, with its noise: binary images under a Bernoulli. An encoder for grey pixels so
    learns from binary dreams, and never sees there what it is asked about.

    Args:
        model: The VAE; encoder and decoder share no parameters.
        x: Images, shape (B, D).

    Returns:
        The sum, its two parts and an ELBO for each image, in nats.

    Raises:
        ValueError: If x has another D, or the likelihood cannot score it.
    """
    with torch.no_grad():
        q = model.encode(x)
        z = q.sample()
        log_q = q.log_prob(z)
        dreamt_z = model.prior.sample((len(x),))
        dreamt_x = model.decode(dreamt_z).sample()
    wake = model.log_joint(x, z)
    sleep = model.encode(dreamt_x).log_prob(dreamt_z)
    return WakeSleep(wake + sleep, wake, sleep, wake.detach() - log_q)
