"""Runs that stop and go on: saved whole, restored bit for bit, refused when they are not the same run."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vaelib import checkpoints
from vaelib.bounds import sgvb_b
from vaelib.checkpoints import CheckpointError
from vaelib.models import VAE
from vaelib.progress import progress_bar
from vaelib.training import NonFiniteLossError, TrainingInterrupted, fit

SETTINGS = {"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "progress": False, "device": "cpu"}


def make() -> tuple[VAE, Tensor]:
    torch.manual_seed(0)
    x = torch.randint(0, 2, (60, 6)).to(torch.float32)
    return VAE.mlp(6, hidden=(8,), latent_dim=2).to(torch.float32), x


def assert_same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    for one, other in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(one, other)


class Stop(Exception):
    """Stands for a crash."""


def crashes_at(step: int):
    """The usual objective, but for a crash at the given gradient step."""
    steps = 0

    def objective(model, x):
        nonlocal steps
        steps += torch.is_grad_enabled()
        if steps == step:
            raise Stop
        return sgvb_b(model, x)

    objective.__qualname__ = sgvb_b.__qualname__
    return objective


@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
@pytest.mark.parametrize("schedule", ["one-cycle", "linear", "constant"])
@pytest.mark.parametrize("step", [2, 8, 9, 29, 48])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, optimiser, schedule, step):
    settings = {**SETTINGS, "optimiser": optimiser, "schedule": schedule, "weight_decay": 0.01, "max_grad_norm": 1.0}
    settings |= {"learning_rate": {"encoder": 0.01, "decoder": 0.05}}
    whole, x = make()
    history = fit(whole, x, x[:20], **settings)
    settings |= {"checkpoint": tmp_path, "checkpoint_seconds": 0}
    crashed, _ = make()
    with pytest.raises(Stop):
        fit(crashed, x, x[:20], objective=crashes_at(step), **settings)
    torch.manual_seed(77)
    resumed = VAE.mlp(6, hidden=(8,), latent_dim=2).to(torch.float32)  # its own weights must not matter
    assert fit(resumed, x, x[:20], **settings).equals(history)
    assert_same_weights(whole, resumed)


def test_checkpoints_do_not_change_the_run(tmp_path):
    (plain, x), (saved, _) = make(), make()
    history = fit(plain, x, **SETTINGS)
    assert fit(saved, x, checkpoint=tmp_path, checkpoint_seconds=0, **SETTINGS).equals(history)
    assert_same_weights(plain, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_a_folder_that_is_not_there_is_made(tmp_path):
    model, x = make()
    fit(model, x, checkpoint=tmp_path / "runs" / "first", **SETTINGS)
    assert (tmp_path / "runs" / "first" / "last.pt").exists()


def test_the_bar_of_a_resumed_run_starts_where_it_stopped(tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(
        "vaelib.training.progress_bar",
        lambda total, **options: starts.append(options["initial"]) or progress_bar(total, **options),
    )
    model, x = make()
    with pytest.raises(Stop):
        fit(model, x, objective=crashes_at(20), checkpoint=tmp_path, **SETTINGS)  # eight steps an epoch
    fit(model, x, checkpoint=tmp_path, **SETTINGS)
    assert starts == [0, 2]


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    first, x = make()
    history = fit(first, x, checkpoint=tmp_path, **SETTINGS)
    again, _ = make()
    assert fit(again, x, checkpoint=tmp_path, objective=sgvb_b, **SETTINGS).equals(history)
    assert_same_weights(first, again)


def test_best_holds_the_weights_of_the_best_epoch(tmp_path):
    model, x = make()
    snapshots = []

    def watched(model, x):
        if not torch.is_grad_enabled():  # the evaluation at the end of an epoch
            snapshots.append({name: value.clone() for name, value in model.state_dict().items()})
        return sgvb_b(model, x)

    history = fit(model, x, x, **SETTINGS | {"learning_rate": 0.3, "checkpoint": tmp_path, "objective": watched})
    best = int(history.test_elbo.argmax())
    assert best != len(history) - 1  # or the test would say nothing
    stored = checkpoints.load(tmp_path / "best.pt")
    for name, value in snapshots[best].items():
        assert torch.equal(stored[name], value)


def test_another_run_is_refused_by_the_setting_that_differs(tmp_path):
    model, x = make()
    fit(model, x, checkpoint=tmp_path, **SETTINGS)
    for change in ({"learning_rate": 0.02}, {"seed": 1}, {"batch_size": 16}, {"epochs": 7}):
        with pytest.raises(CheckpointError, match=f"another run: {next(iter(change))} was"):
            fit(model, x, **SETTINGS | {"checkpoint": tmp_path} | change)
    with pytest.raises(CheckpointError, match="images was 60 and is 50"):
        fit(model, x[:50], checkpoint=tmp_path, **SETTINGS)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint" * 9])
def test_a_damaged_checkpoint_is_an_error_that_says_what_to_do(tmp_path, damage):
    model, x = make()
    fit(model, x, checkpoint=tmp_path, **SETTINGS)
    path = tmp_path / "last.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="delete it to start afresh"):
        fit(model, x, checkpoint=tmp_path, **SETTINGS)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_loading_executes_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Malicious()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path / "plain.pt")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_must_be_a_dict(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        checkpoints.load(tmp_path / "list.pt")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "last.pt"
    checkpoints.save(path, {"epoch": 1})
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        checkpoints.save(path, {"epoch": threading.Lock()})
    assert checkpoints.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_run_that_met_a_nan_is_not_saved(tmp_path):
    model, x = make()
    fit(model, x, checkpoint=tmp_path, **SETTINGS | {"epochs": 1})
    (tmp_path / "last.pt").unlink()

    def poisoned(model, x):
        terms = sgvb_b(model, x)
        return terms._replace(elbo=terms.elbo * float("nan"))

    with pytest.raises(NonFiniteLossError):
        fit(model, x, checkpoint=tmp_path, checkpoint_seconds=0, objective=poisoned, **SETTINGS)
    assert not (tmp_path / "last.pt").exists()


def test_ctrl_c_saves_says_so_and_the_same_call_goes_on(tmp_path):
    whole, x = make()
    history = fit(whole, x, x, **SETTINGS)
    steps = 0

    def interrupts(model, x):
        nonlocal steps
        steps += 1
        if steps == 13:
            signal.raise_signal(signal.SIGINT)  # what Ctrl-C sends
        return sgvb_b(model, x)

    interrupts.__qualname__ = sgvb_b.__qualname__
    before = signal.getsignal(signal.SIGINT)
    model, _ = make()
    with pytest.raises(TrainingInterrupted, match=r"stopped: .*last\.pt holds the run, and the same call goes on"):
        fit(model, x, x, objective=interrupts, checkpoint=tmp_path, **SETTINGS)
    assert signal.getsignal(signal.SIGINT) is before
    assert fit(model, x, x, checkpoint=tmp_path, **SETTINGS).equals(history)
    assert_same_weights(model, whole)


def test_without_a_checkpoint_ctrl_c_is_itself():
    model, x = make()

    def interrupts(model, x):
        signal.raise_signal(signal.SIGINT)
        return sgvb_b(model, x)

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(model, x, objective=interrupts, **SETTINGS)
    assert not isinstance(caught.value, TrainingInterrupted)


def slow(model, x):
    """The usual objective on a machine slow enough to be hit between two steps, within one, and while saving."""
    time.sleep(0.004)
    return sgvb_b(model, x)


def train_in_a_process(folder: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # as in the test's own process
    model, x = make()
    fit(model, x, x[:20], objective=slow, checkpoint=Path(folder), checkpoint_seconds=0, **SETTINGS)


def test_killed_at_twenty_random_moments_it_ends_with_the_same_weights(tmp_path):
    """SIGKILL leaves no time to tidy up; twenty of them, spread over the run by the generator's seed."""
    torch.set_num_threads(1)
    whole, x = make()
    history = fit(whole, x, x[:20], objective=slow, **SETTINGS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # what a child would spend its time on
    generator = torch.Generator().manual_seed(0)
    kills = 0
    while kills < 20:
        process = context.Process(target=train_in_a_process, args=(str(tmp_path),))
        process.start()
        # Wait until it has begun, so that the kill falls into the run and not into the start of Python.
        seen = (tmp_path / "last.pt").stat().st_mtime_ns if (tmp_path / "last.pt").exists() else None
        while process.is_alive() and (
            not (tmp_path / "last.pt").exists() or (tmp_path / "last.pt").stat().st_mtime_ns == seen
        ):
            time.sleep(0.001)
        time.sleep(0.02 * torch.rand((), generator=generator).item())
        if not process.is_alive():  # finished: begin the run again, there are kills left
            process.join()
            assert process.exitcode == 0
            for file in tmp_path.iterdir():
                file.unlink()
            continue
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    model, _ = make()
    assert fit(model, x, x[:20], objective=slow, checkpoint=tmp_path, **SETTINGS).equals(history)
    assert_same_weights(model, whole)
