"""`check` and its report: what they try, what they say, and what they leave alone."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.exercises import EXERCISES, check


def kl_diagonal(mean, log_var):
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)


def kl_full(mean, scale):
    return 0.5 * ((scale**2).sum((-2, -1)) + (mean**2).sum(-1) - mean.shape[-1]) - torch.linalg.slogdet(scale)[1]


def without_abs(mean, scale):
    return 0.5 * ((scale**2).sum((-2, -1)) + (mean**2).sum(-1) - mean.shape[-1]) - torch.logdet(scale)


def raising(error):
    def answer(*_):
        raise error

    return answer


class Recorder:
    """An answer that keeps copies of what it was called with."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, *inputs):
        self.calls.append(tuple(tensor.detach().clone() for tensor in inputs))
        return self.answer(*inputs)

    def sizes(self, dtype):
        """The shapes of the first argument in this dtype."""
        return {tuple(inputs[0].shape) for inputs in self.calls if inputs[0].dtype == dtype}


def calls_of(name, answer, seed=None):
    recorder = Recorder(answer)
    check(name, recorder, seed)
    return recorder.calls


def equal(calls, others):
    return len(calls) == len(others) and all(
        torch.equal(tensor, other)
        for inputs, others in zip(calls, others, strict=True)
        for tensor, other in zip(inputs, others, strict=True)
    )


# What is not attempted, and what is not an answer


@pytest.mark.parametrize("stub", [lambda *_: None, raising(NotImplementedError), raising(NotImplementedError("later"))])
@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_not_attempted(name, stub):
    report = check(name, stub)
    assert (report.attempted, report.passed, report.diagnosis, report.counterexample) == (False, False, None, None)
    assert f"{name}: not attempted." in repr(report)
    assert "not attempted" in report._repr_html_()


def test_a_stub_for_some_inputs_only_is_attempted():
    report = check("kl-diagonal", lambda mean, log_var: kl_diagonal(mean, log_var) if len(mean) > 1 else None, 0)
    assert report.attempted
    assert report.diagnosis == "returns-nothing"


@pytest.mark.parametrize(("name", "close"), [("kl-ful", "kl-full"), ("reparametrise", "reparameterize")])
def test_an_unknown_name(name, close):
    with pytest.raises(ValueError, match=rf"no exercise is called '{name}': it must be one of {close}$"):
        check(name, kl_full)


def test_a_name_unlike_any_other():
    with pytest.raises(ValueError, match=", ".join(EXERCISES)):
        check("?", kl_full)


@pytest.mark.parametrize("answer", [None, torch.zeros(1), "kl_full"])
def test_what_cannot_be_called(answer):
    with pytest.raises(TypeError, match=f"answer must be a function, but is a {type(answer).__name__}: pass its name"):
        check("kl-full", answer)


# Exceptions


def test_an_exception_is_shown_with_its_input():
    report = check("kl-full", raising(RuntimeError("sizes do not match")), 0)
    assert report.diagnosis == "exception"
    assert report.counterexample.inputs.keys() == {"mean", "scale"}
    assert "got      RuntimeError: sizes do not match" in repr(report)


def test_an_exception_with_a_graph_alone_is_shown():
    report = check("kl-diagonal", lambda mean, log_var: kl_diagonal(torch.from_numpy(mean.numpy()), log_var), 0)
    assert report.diagnosis == "detached"
    assert "got      RuntimeError: Can't call numpy() on Tensor that requires grad" in repr(report)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_swallowed(error):
    with pytest.raises(error):
        check("kl-full", raising(error))


# Seeds


def test_the_same_seed_draws_the_same_inputs():
    assert equal(calls_of("kl-full", kl_full, 3), calls_of("kl-full", kl_full, 3))


def test_another_seed_draws_others():
    for one, other in zip(calls_of("kl-full", kl_full, 3), calls_of("kl-full", kl_full, 4), strict=True):
        assert not torch.equal(one[0], other[0])


def test_no_seed_draws_fresh_inputs_whose_seed_is_told():
    first, second = Recorder(kl_full), Recorder(kl_full)
    reports = [check("kl-full", first), check("kl-full", second)]
    assert not equal(first.calls, second.calls)
    assert equal(first.calls, calls_of("kl-full", kl_full, reports[0].seed))


@pytest.mark.parametrize("answer", [kl_full, without_abs])
def test_the_seed_is_printed(answer):
    report = check("kl-full", answer, 12345)
    assert report.seed == 12345
    assert "(seed=12345 draws these inputs again)" in repr(report)
    assert "(seed=12345 draws these inputs again)" in report._repr_html_()


# What is left alone


def drawing(mean, log_var):
    torch.manual_seed(1)
    return kl_diagonal(mean, log_var) + torch.randn(())


@pytest.mark.parametrize("answer", [kl_diagonal, drawing, raising(ValueError)])
def test_the_global_state_is_as_it_was(answer):
    state = torch.get_rng_state()
    check("kl-diagonal", answer)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float64


def test_without_grad():
    with torch.no_grad():
        assert check("kl-diagonal", kl_diagonal).passed
        assert check("kl-diagonal", lambda mean, log_var: kl_diagonal(mean, log_var.detach())).diagnosis == "detached"
        assert not torch.is_grad_enabled()


def test_another_default_device():
    with torch.device("meta"):  # as a reader has it who has made the GPU the default
        assert check("kl-full", EXERCISES["kl-full"].right).passed
        assert torch.empty(0).device.type == "meta"  # torch.get_default_device forgets it, in torch 2.7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", EXERCISES)
def test_any_default_dtype(name, dtype):
    torch.set_default_dtype(dtype)  # conftest.py restores it
    report = check(name, EXERCISES[name].right, 0)
    assert report.passed, report
    assert torch.get_default_dtype() == dtype


def test_what_an_answer_does_to_its_inputs_is_not_seen_by_the_next_call():
    def in_place(mean, log_var):
        log_var.data.zero_()
        return kl_diagonal(mean, log_var)

    assert equal(calls_of("kl-diagonal", in_place, 0)[:40], calls_of("kl-diagonal", kl_diagonal, 0)[:40])
    report = check("kl-diagonal", in_place, 0)
    assert report.diagnosis == "modified-in-place"
    assert (report.counterexample.inputs["log_var"] != 0).all()
    assert "and changed inputs" in repr(report)


# What is tried


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_several_sizes_in_both_dtypes(name, dtype):
    recorder = Recorder(EXERCISES[name].right)
    check(name, recorder, 0)
    sizes = recorder.sizes(dtype)
    assert len(sizes) >= 3
    smallest = {1, 2} if name == "score-function-gradient" else {1}  # a baseline takes two draws
    assert any(set(size) <= smallest for size in sizes)
    assert any(min(size) > 1 for size in sizes)


@pytest.mark.parametrize("name", [name for name in EXERCISES if name not in ("mean-field-optimum", "amortization-gap")])
def test_sizes_that_tell_axes_apart(name):
    recorder = Recorder(EXERCISES[name].right)
    check(name, recorder, 0)
    sizes = {tuple(inputs[-1].shape[:2]) for inputs in recorder.calls}
    assert {(2, 1), (3, 2), (2, 3)} <= sizes
    if name != "score-function-gradient":
        assert {(1, 1), (1, 2)} <= sizes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_fault_in_one_dtype_alone_is_found(dtype):
    def answer(mean, log_var):
        return kl_diagonal(mean, log_var) + (1 if mean.dtype == dtype else 0)

    report = check("kl-diagonal", answer, 0)
    assert not report.passed
    assert report.counterexample.inputs["mean"].dtype == dtype
    assert f"for, in {str(dtype).removeprefix('torch.')}," in repr(report)


# Counterexamples


@pytest.mark.parametrize("seed", range(3))
def test_the_counterexample_is_the_smallest(seed):
    report = check("kl-full", without_abs, seed)
    assert report.diagnosis == "log-det-without-abs"
    scale = report.counterexample.inputs["scale"]
    assert scale.shape == (1, 1, 1)
    assert scale.item() < 0
    report = check("kl-full", lambda mean, scale: kl_full(mean, scale) + (1 if mean.shape[1] > 2 else 0), seed)
    assert report.counterexample.inputs["mean"].shape == (2, 3)


def test_the_counterexample_is_the_smallest_whatever_was_drawn_first():
    def answer(mean, log_var):  # positive log-variances are drawn first
        return kl_diagonal(mean, log_var) + (1 if mean.shape[1] > 2 or (log_var < 0).all() else 0)

    example = check("kl-diagonal", answer, 0).counterexample
    assert example.inputs["mean"].shape == (1, 1)
    assert (example.inputs["log_var"] < 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_expected_and_got_are_right(seed):
    def answer(mean, scale):
        return kl_full(mean, scale) + 0.5 * mean.shape[1]

    example = check("kl-full", answer, seed).counterexample
    mean, scale = example.inputs["mean"], example.inputs["scale"]
    prior = MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1]))
    torch.testing.assert_close(example.expected, kl_divergence(MultivariateNormal(mean, scale @ scale.mT), prior))
    torch.testing.assert_close(example.got, answer(mean, scale))


def test_expected_and_got_of_a_gradient():
    report = check("kl-diagonal", lambda mean, log_var: kl_diagonal(mean, log_var.detach()), 0)
    example = report.counterexample
    assert example.inputs["log_var"].shape == (1, 1)
    slope = 0.5 * (math.exp(example.inputs["log_var"].item()) - 1)
    assert example.expected == f"a gradient with respect to log_var of [[{slope:.4g}]]"
    assert torch.equal(example.got, torch.zeros(1, 1))


def test_the_parts_of_a_pair_are_shown():
    report = check("mean-field-optimum", lambda mean, precision: (mean, precision.diagonal()), 0)
    mean, precision = (tensor.item() for tensor in report.counterexample.inputs.values())
    assert f"expected ([{mean:.4g}], [{1 / precision:.4g}])" in repr(report)
    assert f"got      ([{mean:.4g}], [{precision:.4g}])" in repr(report)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda mean, log_var: kl_diagonal(mean, log_var).unsqueeze(0), ", of shape (1, 1)"),
        (lambda mean, log_var: kl_diagonal(mean.float(), log_var.float()), " in float32"),
        (lambda mean, log_var: 1.0, "got      1.0"),
    ],
)
def test_shapes_dtypes_and_types_are_shown(answer, text):
    assert text in repr(check("kl-diagonal", answer, 0))


# Reports


class Texts(HTMLParser):
    """The texts of a piece of HTML, whose tags must close in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], set(), ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_passed_report():
    report = check("kl-diagonal", kl_diagonal, 0)
    assert (report.passed, report.attempted, report.diagnosis, report.counterexample) == (True, True, None, None)
    assert repr(report).startswith("kl-diagonal: passed. ")
    assert "values and gradients" in repr(report)
    assert "kl-diagonal: passed" in Texts(report._repr_html_()).text


def test_a_refusal_as_text_and_as_html():
    report = check("kl-full", without_abs, 0)
    assert repr(report).startswith("kl-full: not right yet [log-det-without-abs]. A determinant can be negative")
    html = Texts(report._repr_html_())
    assert html.tags == {"div", "strong", "code", "pre"}
    for line in repr(report).splitlines()[1:]:
        assert line.strip() in html.text


def test_html_is_escaped():
    report = check("kl-full", raising(ValueError("<b>bold & 'bad'</b>")), 0)
    html = Texts(report._repr_html_())
    assert "b" not in html.tags
    assert "ValueError: <b>bold & 'bad'</b>" in html.text


def test_what_is_long_is_shortened():
    report = check("kl-full", raising(ValueError(1000 * "long ")), 0)
    assert len(repr(report)) < 1000
    assert "..." in repr(report)
    report = check("kl-full", lambda mean, scale: kl_full(mean, scale) if scale.numel() <= 40 else mean[:, 0], 0)
    assert f"numbers of shape {tuple(report.counterexample.inputs['scale'].shape)}" in repr(report)


def test_a_wrong_answer_without_a_known_mistake():
    report = check("kl-diagonal", lambda mean, log_var: kl_diagonal(mean, log_var).sin(), 0)
    assert (report.attempted, report.passed, report.diagnosis) == (True, False, None)
    assert report.counterexample is not None
    assert "kl-diagonal: not right yet. The values are not those of the formula" in repr(report)


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_has_one_hint(name):
    exercise = EXERCISES[name]
    ids = [mistake.id for mistake in exercise.mistakes]
    assert len(ids) == len(set(ids))
    assert all(mistake.hint for mistake in exercise.mistakes)
    named = {id for term in exercise.ingredients for id in (term.mistake, term.otherwise, *term.multiples.values())}
    assert named - {None} <= set(ids)
