"""`python -m vaelib.experiments`, in one process and in two."""

from __future__ import annotations

import os
import re

import pytest
import torch

from vaelib.checkpoints import CheckpointError
from vaelib.data import DataError
from vaelib.experiments import __main__ as command
from vaelib.experiments.records import RecordError, read_record
from vaelib.training import TrainingInterrupted

ARGUMENTS = ["seeds", "--dataset", "digits", "--epochs", "2", "--out"]


def test_without_a_name_it_lists_the_experiments(capsys):
    assert command.main([]) == 0
    shown = capsys.readouterr().out
    for name in command.EXPERIMENTS:
        assert re.search(rf"^    {name}\s", shown, re.MULTILINE)


def test_help_says_what_an_experiment_is(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["seeds", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "What a seed changes" in shown
    assert "--out" in shown


@pytest.mark.parametrize("arguments", [["unknown"], ["seeds", "--epochs", "many"]])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("error", [CheckpointError, DataError, RecordError, ValueError])
def test_an_error_that_says_what_to_do_needs_no_traceback(monkeypatch, capsys, error):
    def fails(out, **options):
        raise error("do something else")

    monkeypatch.setitem(command.EXPERIMENTS, "seeds", fails)
    assert command.main(["seeds"]) == 1
    assert capsys.readouterr().err == "do something else\n"


@pytest.mark.parametrize(
    ("stop", "shown"), [(KeyboardInterrupt(), "stopped;"), (TrainingInterrupted("stopped after step 3"), "step 3;")]
)
def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, stop, shown):
    def stops(out, **options):
        raise stop

    monkeypatch.setitem(command.EXPERIMENTS, "seeds", stops)
    assert command.main(["seeds"]) == 130
    assert f"{shown} the same command goes on" in capsys.readouterr().err


def test_two_processes_leave_the_record_of_one(tmp_path, torchrun, monkeypatch, capsys):
    """With one thread in each process, as `torchrun` has it."""
    ended = torchrun("-m", "vaelib.experiments", *ARGUMENTS, str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("seeds-digits.json: 20 rows") == 1  # from the first process
    two = read_record(tmp_path / "two" / "seeds-digits.json")
    assert two.provenance["processes"] == 2

    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert torch.get_num_threads() == two.provenance["machine"]["threads"] == 1
    torch.set_default_dtype(torch.float32)  # as in the command; conftest.py restores it
    assert command.main([*ARGUMENTS, str(tmp_path / "one")]) == 0
    assert "seeds-digits.json: 20 rows" in capsys.readouterr().out
    one = read_record(tmp_path / "one" / "seeds-digits.json")
    assert one.table.equals(two.table)
    assert (one.settings, one.seeds) == (two.settings, two.seeds)
    assert os.listdir(tmp_path / "one") == os.listdir(tmp_path / "two") == ["seeds-digits.json"]
