"""The exercises: each with a right answer, inputs that tell mistakes apart, and its known mistakes."""

from vaelib.exercises.catalogue.amortization_gap import AMORTIZATION_GAP
from vaelib.exercises.catalogue.bernoulli import BERNOULLI
from vaelib.exercises.catalogue.elbo_monte_carlo import ELBO
from vaelib.exercises.catalogue.gaussian import GAUSSIAN
from vaelib.exercises.catalogue.induced_covariance import INDUCED_COVARIANCE
from vaelib.exercises.catalogue.kl_diagonal import KL_DIAGONAL
from vaelib.exercises.catalogue.kl_full import KL_FULL
from vaelib.exercises.catalogue.kl_gaussians import KL_GAUSSIANS
from vaelib.exercises.catalogue.log_averages import IWAE, NAIVE
from vaelib.exercises.catalogue.mean_field_optimum import MEAN_FIELD
from vaelib.exercises.catalogue.reparameterize import REPARAMETERIZE
from vaelib.exercises.catalogue.reparameterize_full import REPARAMETERIZE_FULL
from vaelib.exercises.catalogue.score_function_gradient import SCORE_FUNCTION
from vaelib.exercises.exercise import Exercise

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        REPARAMETERIZE,
        REPARAMETERIZE_FULL,
        INDUCED_COVARIANCE,
        KL_DIAGONAL,
        KL_FULL,
        KL_GAUSSIANS,
        BERNOULLI,
        GAUSSIAN,
        NAIVE,
        ELBO,
        IWAE,
        SCORE_FUNCTION,
        MEAN_FIELD,
        AMORTIZATION_GAP,
    )
}
"""By their names, as `vaelib.exercises.check` takes them."""
