"""Grids: the same work for many settings, shared by several processes, stopped and continued at will.

While a grid runs, the folder NAME.unfinished beside its record NAME.json holds the results of finished jobs and the
checkpoints of the others. Once the record is written, the folder is removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vaelib import checkpoints
from vaelib.devices import default_device
from vaelib.experiments.ranks import Ranks
from vaelib.experiments.records import Record, plain, provenance, read_record, start, write_record
from vaelib.progress import progress_bar

Job = Mapping[str, bool | int | float | str]
Work = Callable[[Job, Path], pd.DataFrame]


class JobError(RuntimeError):
    """A job of a grid that failed; the message names it."""


def run_grid(
    name: str,
    jobs: Sequence[Job],
    work: Work,
    *,
    settings: Mapping[str, Any],
    out: Path | str,
    progress: bool = True,
) -> Record | None:
    """Do the work for every job, and write one record, `out`/`name`.json.

    A grid that was killed goes on when the same call is made again: finished jobs are read back, the others go on from
    their checkpoints. A grid whose record exists is not run again. Under `torchrun` the processes share the jobs (see
    `vaelib.experiments.ranks`), on several machines through a folder that all of them see. Only one command at a time
    may run a grid in a folder.

    As long as `work` seeds its own draws, a job's result depends neither on the number of processes nor on which of
    them does it: bit for bit, on the same type of device and with the same number of threads, which decides the order
    in which floats are summed. A process alone uses as many threads as there are cores, each of several processes that
    `torchrun` starts only one; the environment variable OMP_NUM_THREADS sets the number for both.

    Args:
        name: Of the record.
        jobs: What differs from job to job: booleans, numbers or strings by name, the same names in each, one of them
            `seed`. They are begun in this order, so with several processes the longest should come first.
        work: Does a job, given its settings and a folder of its own for checkpoints (such as `vaelib.training.fit`
            takes), and returns a table such as `write_record` takes.
        settings: All else that decides the results, the same for every job, but for the type of the default device and
            the default dtype: these are added.
        out: The folder of the record.
        progress: Whether to show a progress bar.

    Returns:
        The record; None in every process but the first. Its table has the jobs' tables below one another, after
        columns with each job's settings; a column that only some of them have is NaN for the others. Its `settings`
        are those given, `device` and `dtype`, and the names of the `jobs`. Its provenance is that of the process that
        wrote it (so `seconds` do not count what came before a kill), and notes the number of `processes` and for each
        of the `jobs` whether it was `resumed` from a checkpoint, and where else its provenance differs.

    Raises:
        JobError: If a job fails.
        CheckpointError: If `out` holds results of other settings under that name.
        ValueError: If the jobs are not as described, or two of them are the same.
    """
    names = _names_of(jobs, settings)
    numbers = {"device": default_device().type, "dtype": str(torch.get_default_dtype()).removeprefix("torch.")}
    common: dict[str, Any] = plain("settings", {**settings, **numbers})
    path = Path(out, f"{name}.json")
    folder = path.with_name(f"{name}.unfinished")
    ranks = Ranks(str(path))
    if not path.exists():
        started = start()
        _check_settings(folder / "settings.pt", common)
        files = [folder / f"{job}.json" for job in names]
        _share(jobs, files, work, common, ranks, progress)
        if ranks.rank == 0:
            records = _collect(files)
            write_record(
                path,
                name=name,
                settings={**common, "jobs": names},
                seeds=sorted({seed for record in records for seed in record.seeds}),
                table=pd.concat([record.table for record in records], ignore_index=True),
                started=started,
                notes={"processes": ranks.size, "jobs": _differences(records, provenance(started))},
            )
    if ranks.rank != 0:
        return None
    record = read_record(path)
    checkpoints.check_same_run(path, record.settings, {**common, "jobs": names})
    if folder.exists():
        shutil.rmtree(folder)
    return record


def _names_of(jobs: Sequence[Job], settings: Mapping[str, Any]) -> list[str]:
    """A name for each job that can name a file, made of its settings."""
    if not jobs:
        raise ValueError("jobs must hold at least one job, but is empty")
    kinds = {setting: type(value) for setting, value in jobs[0].items()}
    if kinds.get("seed") is not int:
        raise ValueError(f"jobs must each have an integer seed, but the first is {dict(jobs[0])}")
    if clash := settings.keys() & {*kinds, "jobs"}:
        raise ValueError(f"settings must not name what differs from job to job, but name {', '.join(sorted(clash))}")
    names = []
    for job in jobs:
        if {setting: type(value) for setting, value in job.items()} != kinds:
            raise ValueError(f"jobs must have the same settings of the same types, but {dict(job)} is unlike the first")
        name = ",".join(f"{setting}={job[setting]}" for setting in kinds)
        if not re.fullmatch(r"[\w.+=,-]{1,200}", name, re.ASCII):
            raise ValueError(
                f"jobs must make file names of at most 200 letters, digits and _ . + -, but {name!r} is not"
            )
        names.append(name)
    if len({name.lower() for name in names}) < len(names):  # there are file systems that ignore case
        raise ValueError(f"jobs must differ from one another, but are {'; '.join(names)}")
    return names


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder of results of other settings, before anything is run.

    The settings have a file of their own because a killed job leaves a checkpoint and no result that would tell them.
    """
    if path.exists():
        checkpoints.check_same_run(path, checkpoints.load(path), settings)
    else:
        checkpoints.save(path, settings)


def _share(
    jobs: Sequence[Job], files: list[Path], work: Work, settings: dict[str, Any], ranks: Ranks, progress: bool
) -> None:
    """Do this rank's part of the jobs that have no result yet; in rank 0, wait for the others."""
    bar = progress_bar(len(jobs), unit="job", show=progress and ranks.rank == 0)

    def show_finished() -> None:
        bar.update(sum(file.exists() for file in files) - bar.n)

    show_finished()
    for number in ranks.claim(len(jobs)):
        if not files[number].exists():
            bar.set_postfix_str(files[number].name.removesuffix(".json"))
            _run(jobs[number], files[number], work, settings)
        show_finished()
    ranks.wait(show_finished)
    show_finished()
    bar.close()


def _run(job: Job, file: Path, work: Work, settings: dict[str, Any]) -> None:
    """Do one job and write its result; its checkpoints are then of no more use."""
    started = start()
    name = file.name.removesuffix(".json")
    checkpoint = file.with_name(name)
    checkpoint.mkdir(exist_ok=True)
    resumed = any(checkpoint.iterdir())
    try:
        table = work(job, checkpoint).copy()
        for column, (setting, value) in enumerate(job.items()):
            table.insert(column, setting, value)
        write_record(
            file,
            name=name,
            settings={**settings, **job},
            seeds=[int(job["seed"])],
            table=table,
            started=started,
            notes={"resumed": resumed},
        )
    except Exception as error:
        raise JobError(f"job {name} failed: {type(error).__name__}: {error}") from error
    shutil.rmtree(checkpoint)


def _collect(files: list[Path]) -> list[Record]:
    """The results of all jobs, in their order."""
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise RuntimeError(
            f"the first process does not see the results {', '.join(missing)} in {files[0].parent}: let all processes "
            "share the folder. Where they do and it shows new files late, run the same command again"
        )
    return [read_record(file) for file in files]


def _differences(records: list[Record], own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the provenance of each job's result has that is not in that of the whole."""
    return {
        record.name: {key: value for key, value in record.provenance.items() if value != own.get(key)}
        for record in records
    }
