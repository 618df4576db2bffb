"""What the benchmarks share, and that their records can be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from vaelib.experiments.records import read_record, start

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "timing")
RECORDS = sorted(FOLDER.glob("records/*.json"))


@pytest.fixture
def timing():
    specification = importlib.util.spec_from_file_location("timing", FOLDER / "timing.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_contenders_take_turns_after_one_call_each(timing):
    called = []
    contenders = {name: lambda name=name: called.append(name) for name in "ab"}
    times = timing.alternate(contenders, rounds=3, seconds=0)
    assert "".join(called) == "ab" + "ab" * 3
    assert times.contender.tolist() == ["a", "b"] * 3
    assert times["round"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_turn_is_divided_by_its_calls(timing, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))  # every look at the clock takes a second
    times = timing.alternate({"a": lambda: None}, rounds=2, seconds=4)
    # Looks at 0 (begin), 1, 2, 3, 4 (five calls, the first without a look), and 5 at the end.
    assert times.seconds.tolist() == [1.25, 1.25]


def test_ratios_are_taken_round_by_round(timing):
    rows = [("slow", 0, 6.0), ("fast", 0, 2.0), ("slow", 1, 8.0), ("fast", 1, 1.0), ("slow", 2, 9.0), ("fast", 2, 9.0)]
    times = pd.DataFrame(rows, columns=["contender", "round", "seconds"])
    assert timing.ratios(times, "slow", "fast") == {"median": 3.0, "least": 1.0, "greatest": 8.0}


def test_a_record_is_kept(timing, tmp_path, capsys):
    times = pd.DataFrame({"contender": ["a"], "round": [0], "seconds": [0.25]})
    timing.keep(tmp_path, "some-cpu", {"batch": 2}, times, start())
    record = read_record(tmp_path / "some-cpu.json")
    assert record.settings == {"batch": 2}
    assert record.table.seconds.tolist() == [0.25]
    assert "some-cpu.json" in capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_does(script):
    done = subprocess.run([sys.executable, FOLDER / f"{script}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_are_whole_and_know_where_they_come_from(path):
    record = read_record(path)
    assert record.name == path.stem
    assert (record.table.seconds > 0).all()
    assert record.provenance["git"]["commit"]
    # The name ends in the kind of device: a record of a GPU must come from one.
    assert (record.provenance["machine"]["gpu"] is not None) == path.stem.endswith("-cuda")
