"""Grids end with the same record whatever happens on the way, and mix nothing up."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from vaelib.bounds import sgvb_b
from vaelib.checkpoints import CheckpointError
from vaelib.devices import default_device
from vaelib.experiments import grid, records
from vaelib.experiments.grid import JobError, run_grid
from vaelib.experiments.records import Record, RecordError
from vaelib.models import VAE
from vaelib.progress import progress_bar
from vaelib.training import TrainingInterrupted, fit

JOBS = [{"seed": seed, "method": method} for method in ("a", "b") for seed in (0, 1)]
NAMES = ["seed=0,method=a", "seed=1,method=a", "seed=0,method=b", "seed=1,method=b"]


def work(job, checkpoint):
    return pd.DataFrame({"epoch": [1, 2], "elbo": [job["seed"] + 0.1, job["seed"] / 3]})


def run(out: Path, do=work, jobs=JOBS, **settings) -> Record:
    return run_grid("grid", jobs, do, settings=settings, out=out, progress=False)


def refuse(job, checkpoint):
    raise AssertionError("this was done before")


def test_the_table_has_the_settings_before_the_results(tmp_path):
    record = run(tmp_path, epochs=2, hidden=(8, 4))
    expected = pd.DataFrame(
        {
            "seed": [0, 0, 1, 1] * 2,
            "method": ["a"] * 4 + ["b"] * 4,
            "epoch": [1, 2] * 4,
            "elbo": [0.1, 0.0, 1.1, 1 / 3] * 2,
        }
    )
    pd.testing.assert_frame_equal(record.table, expected, check_exact=True)
    where = {"device": default_device().type, "dtype": "float64"}
    assert record.settings == {"epochs": 2, "hidden": [8, 4], **where, "jobs": NAMES}
    assert record.seeds == [0, 1]
    assert record.provenance["processes"] == 1
    assert list(record.provenance["jobs"]) == NAMES
    assert not any(job["resumed"] for job in record.provenance["jobs"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_a_column_that_a_job_lacks_is_nan_there(tmp_path):
    def unlike(job, checkpoint):
        return pd.DataFrame({"elbo": [0.5], f"by_{job['method']}": [0.25]})

    table = run(tmp_path, unlike).table
    assert table.by_a.tolist()[:2] == [0.25, 0.25]
    assert table.by_a.isna().tolist() == [False, False, True, True]


def test_the_bar_counts_the_jobs(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bars = []

    def remember(*arguments, **options):
        bars.append(progress_bar(*arguments, **options))
        return bars[0]

    def looks(job, checkpoint):
        assert bars[0].n == JOBS.index(job)
        return work(job, checkpoint)

    monkeypatch.setattr(grid, "progress_bar", remember)
    run_grid("grid", JOBS, looks, settings={}, out=tmp_path)
    shown = capsys.readouterr().err
    assert "0/4" in shown
    assert "4/4" in shown
    run_grid("quiet", JOBS, work, settings={}, out=tmp_path, progress=False)
    assert capsys.readouterr().err == ""


# Stopped, and continued


def test_a_finished_grid_is_not_run_again(tmp_path):
    first = run(tmp_path, epochs=2)
    text = (tmp_path / "grid.json").read_text()
    (tmp_path / "grid.unfinished").mkdir()  # as of a process killed when it had just written the record
    again = run(tmp_path, refuse, epochs=2)
    assert again.table.equals(first.table)
    assert again.provenance == first.provenance
    assert (tmp_path / "grid.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


def test_finished_jobs_are_read_back_and_the_others_go_on(tmp_path):
    done = []

    def fails_at_the_third(job, checkpoint):
        if len(done) == 2:
            (checkpoint / "last.pt").touch()
            raise ZeroDivisionError("by intent")
        done.append(job)
        return work(job, checkpoint)

    with pytest.raises(JobError, match="job seed=0,method=b failed: ZeroDivisionError: by intent"):
        run(tmp_path, fails_at_the_third)
    assert done == JOBS[:2]
    assert not (tmp_path / "grid.json").exists()
    inside = {path.name for path in (tmp_path / "grid.unfinished").iterdir()}
    assert inside == {"settings.pt", f"{NAMES[0]}.json", f"{NAMES[1]}.json", NAMES[2]}

    def goes_on(job, checkpoint):
        assert (checkpoint / "last.pt").exists() is (job == JOBS[2])
        done.append(job)
        return work(job, checkpoint)

    record = run(tmp_path, goes_on)
    assert done == JOBS
    assert record.table.equals(run(tmp_path / "whole").table)
    assert [job["resumed"] for job in record.provenance["jobs"].values()] == [False, False, True, False]


def test_what_is_another_for_a_job_stands_with_it(tmp_path, monkeypatch):
    def fails_at_the_second(job, checkpoint):
        if job != JOBS[0]:
            raise ZeroDivisionError
        return work(job, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(records, "machine", lambda: {"gpu": "another"})
        with pytest.raises(JobError):
            run(tmp_path, fails_at_the_second)
    record = run(tmp_path)
    assert record.provenance["machine"] == records.machine()
    first, second, *_ = record.provenance["jobs"].values()
    assert first.keys() - {"date"} == {"seconds", "machine", "resumed"}
    assert first["machine"] == {"gpu": "another"}
    assert second.keys() - {"date"} == {"seconds", "resumed"}


def test_ctrl_c_is_itself(tmp_path):
    def stops(job, checkpoint):
        raise TrainingInterrupted("stopped after step 3")

    with pytest.raises(TrainingInterrupted, match="after step 3"):
        run(tmp_path, stops)
    assert run(tmp_path).table.equals(run(tmp_path / "whole").table)


def slow(model, x):
    """The usual bound on a machine slow enough to be hit between two steps, within one, and while saving."""
    time.sleep(0.004)
    return sgvb_b(model, x)


def train(job, checkpoint):
    torch.manual_seed(job["seed"])
    x = torch.randint(0, 2, (40, 6)).to(torch.float64)
    model = VAE.mlp(6, hidden=(8,), latent_dim=2)
    method = {"a": "adam", "b": "adagrad"}[job["method"]]
    return fit(
        model,
        x,
        x[:20],
        epochs=3,
        objective=slow,
        batch_size=8,
        optimiser=method,
        learning_rate=0.01,
        seed=job["seed"],
        device="cpu",
        progress=False,
        checkpoint=checkpoint,
        checkpoint_seconds=0,
    )


def run_in_a_process(out: str) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # as in the test's own process
    (Path(out) / "alive").touch()
    run(Path(out), train)


def kept(folder: Path) -> list[str]:
    """What lies in a folder, less the half-written record that only a SIGKILL in the midst of writing it leaves."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(".grid.json.")]


def test_killed_at_random_moments_it_ends_with_the_same_record(tmp_path):
    """SIGKILL leaves no time to tidy up; five of them, spread over the grid by the generator's seed."""
    whole = run(tmp_path / "whole", train)
    out, alive = tmp_path / "killed", tmp_path / "killed" / "alive"
    out.mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # what a child would spend its time on
    generator = torch.Generator().manual_seed(0)
    kills = 0
    while kills < 5:
        process = context.Process(target=run_in_a_process, args=(str(out),))
        process.start()
        while process.is_alive() and not alive.exists():  # the kill should fall into the run, not the start of Python
            time.sleep(0.001)
        time.sleep(0.5 * torch.rand((), generator=generator).item())
        process.kill()
        process.join()
        alive.unlink(missing_ok=True)
        if process.exitcode == 0:  # finished: begin again, there are kills left
            assert kept(out) == ["grid.json"]
            (out / "grid.json").unlink()
        kills += process.exitcode == -signal.SIGKILL
    record = run(out, train)
    assert record.table.equals(whole.table)
    assert (record.settings, record.seeds) == (whole.settings, whole.seeds)
    assert kept(out) == ["grid.json"]


# Nothing is mixed up


def test_results_of_other_settings_are_refused(tmp_path):
    def fails_late(job, checkpoint):
        if job == JOBS[3]:
            raise ZeroDivisionError
        return work(job, checkpoint)

    with pytest.raises(JobError):
        run(tmp_path, fails_late, epochs=2)
    with pytest.raises(CheckpointError, match=r"another run: epochs was 2 and is 3"):
        run(tmp_path, refuse, epochs=3)
    with pytest.raises(CheckpointError, match=r"another run: rate was None and is 0.1"):
        run(tmp_path, refuse, epochs=2, rate=0.1)
    run(tmp_path, epochs=2)
    for changes in ({"epochs": 3}, {"epochs": 2, "rate": 0.1}):
        with pytest.raises(CheckpointError, match=r"grid\.json belongs to another run"):
            run(tmp_path, refuse, **changes)
    with pytest.raises(CheckpointError, match=r"grid\.json belongs to another run: jobs was"):
        run(tmp_path, refuse, jobs=JOBS[:3], epochs=2)


def test_more_jobs_may_be_asked_of_an_unfinished_grid(tmp_path):
    def fails_at_the_second(job, checkpoint):
        if job != JOBS[0]:
            raise ZeroDivisionError
        return work(job, checkpoint)

    with pytest.raises(JobError):
        run(tmp_path, fails_at_the_second, jobs=JOBS[:2])
    assert (
        run(tmp_path, lambda job, folder: (refuse if job == JOBS[0] else work)(job, folder)).settings["jobs"] == NAMES
    )


def test_a_damaged_result_is_an_error(tmp_path):
    with pytest.raises(JobError):
        run(tmp_path, refuse)
    (tmp_path / "grid.unfinished" / f"{NAMES[0]}.json").write_text("{")
    with pytest.raises(RecordError, match=r"seed=0,method=a\.json is not a readable record: delete it"):
        run(tmp_path)


def test_a_folder_that_is_not_shared_is_an_error(tmp_path):
    def loses_the_first(job, checkpoint):
        (checkpoint.parent / f"{NAMES[0]}.json").unlink(missing_ok=True)
        return work(job, checkpoint)

    with pytest.raises(RuntimeError, match=r"does not see the results seed=0,method=a\.json in .* share the folder"):
        run(tmp_path, loses_the_first)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([], "jobs must hold at least one"),
        ([{"method": "a"}], "integer seed"),
        ([{"seed": 0.0}], "integer seed"),
        ([{"seed": True}], "integer seed"),
        ([{"seed": 0}, {"seed": 1, "method": "a"}], "unlike the first"),
        ([{"seed": 0, "rate": 0.1}, {"seed": 1, "rate": 1}], "unlike the first"),
        ([{"seed": 0}, {"seed": 0}], "differ from one another, but are seed=0; seed=0"),
        ([{"seed": 0, "method": "em"}, {"seed": 0, "method": "EM"}], "differ from one another"),
        ([{"seed": 0, "method": "a/b"}], "file names"),
        ([{"seed": 0, "method": "a" * 200}], "file names of at most 200"),
        ([{"seed": 0, "epochs": 1}], "settings must not name what differs from job to job, but name epochs"),
    ],
)
def test_jobs_must_be_told_apart(tmp_path, jobs, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, refuse, jobs, epochs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"seed": [1]}), "cannot insert seed, already exists"),
        (pd.DataFrame({"x": [1]}, index=["a"]), "table must have the index"),
        (None, "NoneType"),
    ],
)
def test_a_table_that_cannot_be_kept_fails_with_the_job_that_made_it(tmp_path, table, message):
    with pytest.raises(JobError, match=f"job seed=0,method=a failed: .*{message}"):
        run(tmp_path, lambda job, checkpoint: table)


# Several processes


def test_the_first_process_waits_for_what_others_do(tmp_path, monkeypatch):
    class Two:
        """Each of two ranks takes two jobs, the second of them after the first has done its own."""

        def __init__(self, name, rank=0):
            self.rank, self.size = rank, 2

        def claim(self, count):
            return range(2 * self.rank, 2 * self.rank + 2)

        def wait(self, meanwhile):
            if self.rank == 0:
                monkeypatch.setattr(grid, "Ranks", lambda name: Two(name, rank=1))
                assert run(tmp_path) is None
                meanwhile()

    whole = run(tmp_path / "whole")
    monkeypatch.setattr(grid, "Ranks", Two)
    record = run(tmp_path)
    assert record.table.equals(whole.table)
    assert record.provenance["processes"] == 2


def test_a_job_that_fails_ends_both_processes_and_is_named(tmp_path, torchrun):
    ended = torchrun(str(Path(__file__).with_name("failing_grid.py")), str(tmp_path))
    assert ended.returncode != 0
    assert "JobError: job seed=2 failed: ZeroDivisionError: by intent" in ended.stderr
    torch.set_default_dtype(torch.float32)  # as the processes had it; conftest.py restores it
    done = []

    def remember(job, checkpoint):
        done.append(job["seed"])
        return pd.DataFrame({"x": [0.25]})

    jobs = [{"seed": seed} for seed in range(3)]
    record = run_grid("failing", jobs, remember, settings={}, out=tmp_path, progress=False)
    assert done == [1, 2]  # what one of the two had finished is read back
    assert record.table.x.tolist() == [0.5, 0.25, 0.25]
