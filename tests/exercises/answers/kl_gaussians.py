"""Answers to `kl-gaussians`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import torch
from exercises.answers.pieces import log_abs_det, lower_factor, squares
from torch import distributions as td
from torch import nn


def kl(mean_q, scale_q, mean_p, scale_p, trace=1.0, shift=1.0, count=1.0, logs=1.0):
    """The divergence, its terms multiplied."""
    ratio = torch.linalg.solve(scale_p, scale_q)
    difference = torch.linalg.solve(scale_p, mean_q - mean_p)
    change = log_abs_det(scale_p) - log_abs_det(scale_q)
    first = trace * squares(ratio) + shift * difference.pow(2).sum(1) - count * mean_q.shape[1]
    return 0.5 * first + logs * change


def solve(mean_q, scale_q, mean_p, scale_p):
    ratio = torch.linalg.solve(scale_p, scale_q)
    shift = torch.linalg.solve(scale_p, mean_q - mean_p)
    logdet = torch.linalg.slogdet(scale_q)[1] - torch.linalg.slogdet(scale_p)[1]
    return 0.5 * (ratio.pow(2).sum((1, 2)) + shift.pow(2).sum(1) - mean_q.shape[1]) - logdet


def one_solve(mean_q, scale_q, mean_p, scale_p):
    both = torch.linalg.solve(scale_p, torch.cat([scale_q, (mean_q - mean_p)[..., None]], dim=-1))
    return 0.5 * (both.square().sum((-1, -2)) - mean_q.shape[-1]) - torch.linalg.slogdet(both[..., :-1]).logabsdet


def inverse(mq, sq, mp, sp):
    inv = torch.linalg.inv(sp)
    a = inv @ sq
    d = torch.einsum("bij,bj->bi", inv, mp - mq)
    trace = torch.einsum("bij,bij->b", a, a)
    return 0.5 * (trace + (d**2).sum(-1) - mq.shape[-1]) + sp.slogdet()[1] - sq.slogdet()[1]


def qr_multivariate(mean_q, scale_q, mean_p, scale_p):
    q = td.MultivariateNormal(mean_q, scale_tril=lower_factor(scale_q))
    p = td.MultivariateNormal(mean_p, scale_tril=lower_factor(scale_p))
    return td.kl_divergence(q, p)


def loop(mean_q, scale_q, mean_p, scale_p):
    out = []
    for b in range(mean_q.shape[0]):
        inv = torch.inverse(scale_p[b])
        precision = inv.T @ inv
        diff = mean_p[b] - mean_q[b]
        trace = torch.trace(precision @ (scale_q[b] @ scale_q[b].T))
        logs = 2 * torch.slogdet(scale_p[b])[1] - 2 * torch.slogdet(scale_q[b])[1]
        out.append(0.5 * (trace + diff @ precision @ diff - len(diff) + logs))
    return torch.stack(out)


def singular_values(mean_q, scale_q, mean_p, scale_p):
    d = torch.linalg.svdvals(torch.linalg.solve(scale_p, scale_q))
    shift = torch.linalg.solve(scale_p, mean_p - mean_q)
    return (0.5 * (d * d - 1) - d.log()).sum(-1) + 0.5 * shift.square().sum(-1)


def vmap(mean_q, scale_q, mean_p, scale_p):
    def one(mq, sq, mp, sp):
        a, d = torch.linalg.solve(sp, sq), torch.linalg.solve(sp, mq - mp)
        return 0.5 * ((a * a).sum() + d @ d - d.shape[0]) - torch.linalg.slogdet(a)[1]

    return torch.func.vmap(one)(mean_q, scale_q, mean_p, scale_p)


def textbook(mean_q, scale_q, mean_p, scale_p):
    cov_q, cov_p = scale_q @ scale_q.mT, scale_p @ scale_p.mT
    precision, d = torch.linalg.inv(cov_p), mean_p - mean_q
    trace = torch.einsum("bij,bji->b", precision, cov_q)
    quadratic = torch.einsum("bi,bij,bj->b", d, precision, d)
    return 0.5 * (trace + quadratic - d.shape[1] + torch.logdet(cov_p) - torch.logdet(cov_q))


class Divergence(nn.Module):
    def forward(self, mean_q, scale_q, mean_p, scale_p):
        rows = zip(mean_q, scale_q, mean_p, scale_p, strict=True)
        return torch.stack([self.one(*row) for row in rows])

    def one(self, mq, sq, mp, sp):
        q = td.MultivariateNormal(mq, scale_tril=lower_factor(sq))
        p = td.MultivariateNormal(mp, scale_tril=lower_factor(sp))
        return td.kl.kl_divergence(q, p)


RIGHT = (
    solve,
    one_solve,
    inverse,
    qr_multivariate,
    loop,
    singular_values,
    vmap,
    lambda mq, sq, mp, sp: td.kl_divergence(
        td.MultivariateNormal(mq, sq @ sq.mT), td.MultivariateNormal(mp, sp @ sp.mT)
    ),
    textbook,
    Divergence(),
)


def scales_are_covariances(mean_q, scale_q, mean_p, scale_p):
    ratio = torch.linalg.solve(scale_p, scale_q)
    d = mean_q - mean_p
    quadratic = (d * torch.linalg.solve(scale_p, d)).sum(1)
    trace = ratio.diagonal(dim1=1, dim2=2).sum(1)
    return 0.5 * (trace + quadratic - d.shape[1] + log_abs_det(scale_p) - log_abs_det(scale_q))


def unchecked_tril(mean_q, scale_q, mean_p, scale_p):
    q = td.MultivariateNormal(mean_q, scale_tril=torch.tril(scale_q), validate_args=False)
    p = td.MultivariateNormal(mean_p, scale_tril=torch.tril(scale_p), validate_args=False)
    return td.kl_divergence(q, p)


def diagonals(mean_q, scale_q, mean_p, scale_p):
    q = td.Normal(mean_q, scale_q.diagonal(dim1=1, dim2=2).abs())
    p = td.Normal(mean_p, scale_p.diagonal(dim1=1, dim2=2).abs())
    return td.kl_divergence(q, p).sum(1)


def marginals(mean_q, scale_q, mean_p, scale_p):
    var_q, var_p = scale_q.pow(2).sum(-1), scale_p.pow(2).sum(-1)
    return 0.5 * (var_q / var_p + (mean_q - mean_p) ** 2 / var_p - 1 + torch.log(var_p / var_q)).sum(1)


def reversed_answer(mean_q, scale_q, mean_p, scale_p):
    q = td.MultivariateNormal(mean_q, scale_tril=lower_factor(scale_q))
    p = td.MultivariateNormal(mean_p, scale_tril=lower_factor(scale_p))
    return td.kl_divergence(p, q)


def reversed_textbook(mean_q, scale_q, mean_p, scale_p):
    inverse = torch.linalg.inv(scale_q)
    shift = torch.einsum("bij,bj->bi", inverse, mean_p - mean_q)
    logs = 2 * (log_abs_det(scale_q) - log_abs_det(scale_p))
    return 0.5 * (squares(inverse @ scale_p) + shift.pow(2).sum(1) - shift.shape[1] + logs)


def transposed_inverse(mean_q, scale_q, mean_p, scale_p):
    inverse = torch.linalg.inv(scale_p)
    precision = inverse @ inverse.mT
    d = mean_q - mean_p
    trace = torch.einsum("bij,bji->b", precision, scale_q @ scale_q.mT)
    quadratic = torch.einsum("bi,bij,bj->b", d, precision, d)
    return 0.5 * (trace + quadratic - d.shape[1]) + log_abs_det(scale_p) - log_abs_det(scale_q)


def product_on_the_wrong_side(mean_q, scale_q, mean_p, scale_p):
    inverse = torch.linalg.inv(scale_p)
    shift = torch.einsum("bji,bj->bi", inverse, mean_q - mean_p)
    change = log_abs_det(scale_p) - log_abs_det(scale_q)
    return 0.5 * (squares(inverse @ scale_q) + shift.pow(2).sum(1) - shift.shape[1]) + change


def trace_of_ratio(mean_q, scale_q, mean_p, scale_p):
    trace = torch.linalg.solve(scale_p, scale_q).diagonal(dim1=1, dim2=2).sum(1)
    return kl(mean_q, scale_q, mean_p, scale_p, trace=0.0) + 0.5 * trace


def covariance_given_as_tril(mean_q, scale_q, mean_p, scale_p):
    q = td.MultivariateNormal(mean_q, scale_tril=lower_factor(scale_q @ scale_q.mT))
    p = td.MultivariateNormal(mean_p, scale_tril=lower_factor(scale_p @ scale_p.mT))
    return td.kl_divergence(q, p)


def elementwise_product(mean_q, scale_q, mean_p, scale_p):
    precision = torch.linalg.inv(scale_p @ scale_p.mT)
    trace = (precision * (scale_q @ scale_q.mT)).diagonal(dim1=1, dim2=2).sum(1)
    return kl(mean_q, scale_q, mean_p, scale_p, trace=0.0) + 0.5 * trace


def no_k_loop(mean_q, scale_q, mean_p, scale_p):
    out = []
    for mq, sq, mp, sp in zip(mean_q, scale_q, mean_p, scale_p, strict=True):
        precision = torch.inverse(sp @ sp.T)
        trace, d = torch.trace(precision @ sq @ sq.T), mp - mq
        out.append(0.5 * (trace + d @ precision @ d) + torch.slogdet(sp)[1] - torch.slogdet(sq)[1])
    return torch.stack(out)


def per_dimension(mean_q, scale_q, mean_p, scale_p):
    shift = torch.linalg.solve(scale_p, mean_q - mean_p)
    ratio = torch.linalg.solve(scale_p, scale_q)
    return 0.5 * (ratio.pow(2).sum(-1) + shift**2 - 1) - log_abs_det(ratio)[:, None] / shift.shape[1]


def summed_over_the_batch(mean_q, scale_q, mean_p, scale_p):
    shift = torch.linalg.solve(scale_p, mean_q - mean_p)
    ratio = torch.linalg.solve(scale_p, scale_q)
    return 0.5 * (ratio.pow(2).sum((0, 1)) + shift.pow(2).sum(0)) - log_abs_det(ratio).sum()


def quadratic_as_matrix(mean_q, scale_q, mean_p, scale_p):
    d = torch.linalg.solve(scale_p, (mean_q - mean_p).unsqueeze(-1))
    return kl(mean_q, scale_q, mean_p, scale_p, shift=0.0) + 0.5 * (d.mT @ d)


def difference_in_place(mean_q, scale_q, mean_p, scale_p):
    value = kl(mean_q, scale_q, mean_p, scale_p)
    mean_q.data.sub_(mean_p.data)
    return value


def monte_carlo(mean_q, scale_q, mean_p, scale_p):
    q = td.MultivariateNormal(mean_q, scale_tril=lower_factor(scale_q))
    p = td.MultivariateNormal(mean_p, scale_tril=lower_factor(scale_p))
    z = q.rsample((500,))
    return (q.log_prob(z) - p.log_prob(z)).mean(0)


def ratio_of_determinants(mean_q, scale_q, mean_p, scale_p):
    ratio = torch.det(scale_p @ scale_p.mT) / torch.det(scale_q @ scale_q.mT)
    return kl(mean_q, scale_q, mean_p, scale_p, logs=0.0) + 0.5 * torch.log(ratio)


WRONG = {
    "scale-as-covariance": (
        scales_are_covariances,
        lambda mq, sq, mp, sp: td.kl_divergence(td.MultivariateNormal(mq, sq), td.MultivariateNormal(mp, sp)),
    ),
    "assumes-triangular": (
        unchecked_tril,
        lambda mq, sq, mp, sp: td.kl_divergence(
            td.MultivariateNormal(mq, scale_tril=sq), td.MultivariateNormal(mp, scale_tril=sp)
        ),
    ),
    "diagonal-only": (
        diagonals,
        marginals,
    ),
    "log-det-without-abs": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + (torch.logdet(sp) - torch.logdet(sq)),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + torch.log(torch.det(sp) / torch.det(sq)),
    ),
    "kl-reversed": (
        reversed_answer,
        reversed_textbook,
    ),
    "transposed": (
        transposed_inverse,
        product_on_the_wrong_side,
    ),
    "mean-for-sum": (lambda mq, sq, mp, sp: kl(mq, sq, mp, sp) / mq.shape[1],),
    "missing-prior-mean": (lambda mq, sq, mp, sp: kl(mq, sq, torch.zeros_like(mp), sp),),
    "missing-prior-scale": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, torch.eye(mp.shape[1], dtype=mp.dtype).expand_as(sp)),
    ),
    "reduced-over-batch": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp).mean(),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp).sum(0),
    ),
    "trace-for-frobenius": (trace_of_ratio,),
    "covariance-as-scale": (
        lambda mq, sq, mp, sp: kl(mq, sq @ sq.mT, mp, sp @ sp.mT),
        covariance_given_as_tril,
    ),
    "missing-prior": (lambda mq, sq, mp, sp: 0.5 * (squares(sq) + mq.pow(2).sum(1) - mq.shape[1]) - log_abs_det(sq),),
    "means-added": (lambda mq, sq, mp, sp: kl(mq, sq, -mp, sp),),
    "norm-not-squared": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, shift=0.0) + 0.5 * torch.linalg.solve(sp, mq - mp).norm(dim=1),
    ),
    "absolute-value": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + (log_abs_det(sp) - log_abs_det(sq)).abs(),
    ),
    "elementwise-product": (elementwise_product,),
    "missing-precision": (lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, shift=0.0) + 0.5 * (mq - mp).pow(2).sum(1),),
    "covariance-for-precision": (
        lambda mq, sq, mp, sp: (
            kl(mq, sq, mp, sp, shift=0.0) + 0.5 * torch.einsum("bij,bj->bi", sp, mq - mp).pow(2).sum(1)
        ),
    ),
    "log-det-factor": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.5),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + (torch.logdet(sp @ sp.mT) - torch.logdet(sq @ sq.mT)),
    ),
    "missing-dimension": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, count=0.0),
        no_k_loop,
    ),
    "dimension-counted-wrongly": (lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, count=0.0) - 0.5,),
    "missing-log-det": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + log_abs_det(sp),
    ),
    "missing-trace-term": (lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, trace=0.0),),
    "missing-mean-term": (lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, shift=0.0),),
    "sign": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=-1.0),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, count=-1.0),
    ),
    "missing-half": (
        lambda mq, sq, mp, sp: 2 * kl(mq, sq, mp, sp),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, count=2.0),
    ),
    "extra-half": (lambda mq, sq, mp, sp: 0.5 * kl(mq, sq, mp, sp),),
    "not-reduced": (per_dimension,),
    "wrong-axis": (summed_over_the_batch,),
    "wrong-base": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp) / math.log(2),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=1 / math.log(10)),
    ),
    "exception": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, trace=0.0) + 0.5 * torch.trace(torch.linalg.solve(sp, sq) ** 2),
    ),
    "wrong-shape": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp)[:, None],
        quadratic_as_matrix,
    ),
    "wrong-dtype": (lambda mq, sq, mp, sp: kl(mq.double(), sq.double(), mp.double(), sp.double()),),
    "modified-in-place": (difference_in_place,),
    "random": (monte_carlo,),
    "unstable": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + (torch.det(sp).abs().log() - torch.det(sq).abs().log()),
        ratio_of_determinants,
    ),
    "detached": (
        lambda mq, sq, mp, sp: kl(mq, sq, mp.detach(), sp.detach()),
        lambda mq, sq, mp, sp: kl(mq, sq, mp, sp, logs=0.0) + (log_abs_det(sp) - log_abs_det(sq)).detach(),
    ),
}
