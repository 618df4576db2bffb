"""Records are read back exactly, are plain JSON, and say truly where they came from."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vaelib
from vaelib.experiments import records
from vaelib.experiments.records import RecordError, checkout, read_record, start, write_record

EXTREME = [0.1, -0.0, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e308, 1 / 3, math.inf, -math.inf, math.nan]


def write(path: Path, table: pd.DataFrame, **changes):
    arguments = {"name": "run", "settings": {}, "seeds": [], "table": table, "started": start()}
    return write_record(path, **arguments | changes)


def bits(column: pd.Series) -> list[int]:
    return column.to_numpy().view(f"int{8 * column.dtype.itemsize}").tolist()


def test_a_table_is_read_back_exactly(tmp_path):
    table = pd.DataFrame(
        {
            "float64": EXTREME,
            "float32": np.array([0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, math.inf, -math.inf, math.nan, 1], "float32"),
            "int64": [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 7, 8, 9],
            "uint8": np.arange(247, 256, dtype="uint8"),
            "uint64": np.array([2**64 - 1] * 9, dtype="uint64"),
            "bool": [True, False] * 4 + [True],
            "text": ["", "nan", "inf", "null", 'a "quote"', "two\nlines", "Ä€😀", "\\u0000\0", "1e400"],
        }
    )
    record = write(tmp_path / "new" / "run.json", table)
    pd.testing.assert_frame_equal(record.table, table, check_exact=True)
    assert record.table.dtypes.equals(table.dtypes)
    for name in ("float64", "float32"):
        assert bits(record.table[name]) == bits(table[name])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.json"]


@given(st.lists(st.floats(allow_nan=False)), st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.text()))
def test_any_column_is_read_back_exactly(tmp_path_factory, floats, integers, texts):
    path = tmp_path_factory.mktemp("records") / "run.json"
    columns = {"float64": floats, "int64": integers, "str": texts}
    for dtype, values in columns.items():
        (column,) = (write(path, pd.DataFrame({"x": pd.Series(values, dtype=dtype)})).table[name] for name in "x")
        assert column.dtype == pd.Series(values, dtype=dtype).dtype
        assert column.tolist() == values
        if dtype == "float64":  # -0.0 equals 0.0
            assert [math.copysign(1, x) for x in column] == [math.copysign(1, x) for x in values]


def test_the_file_is_json_for_every_reader(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    write(tmp_path / "run.json", pd.DataFrame({"x": EXTREME}), settings={"a": {"b": [1, 2]}, "empty": {}})
    text = (tmp_path / "run.json").read_text()
    fields = json.loads(text, parse_constant=refuse)
    assert fields["table"]["x"] == {"dtype": "float64", "values": [*EXTREME[:6], "inf", "-inf", "nan"]}
    assert fields["settings"] == {"a": {"b": [1, 2]}, "empty": {}}
    assert [line for line in text.splitlines() if '"values"' in line] == [
        '      "values": [0.1, -0.0, 5e-324, -2.2250738585072014e-308, 1.7976931348623157e+308, 0.3333333333333333, '
        '"inf", "-inf", "nan"]'
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"x": ["a", None]}, dtype=object), r"column 'x' of dtype object holds None in row 1"),
        (pd.DataFrame({"x": ["a", 1.5]}, dtype=object), r"column 'x' of dtype object holds 1.5 in row 1"),
        (pd.DataFrame({"x": [1 + 2j]}), "column 'x' of dtype complex128"),
        (pd.DataFrame({"x": pd.to_datetime(["2026-01-01"])}), r"column 'x' of dtype datetime64.*\.astype"),
        (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), "column 'x' of dtype Int64"),
        (pd.DataFrame({"x": np.array([0.1], dtype=np.longdouble)}), "column 'x' of dtype float128"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), r"one string to name each column, but has \['x', 'x'\]"),
        (pd.DataFrame([[1]]), r"one string to name each column, but has \[0\]"),
        (pd.DataFrame({"x": [1]}, index=["a"]), r"index 0, 1, .*reset_index"),
    ],
    ids=["missing", "mixed", "complex", "date", "nullable", "longdouble", "twice", "number", "index"],
)
def test_what_would_not_survive_is_refused(tmp_path, table, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "run.json", table)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, torch.ones(1), np.int64(1), {1, 2}])
@pytest.mark.parametrize("name", ["settings", "notes"])
def test_settings_and_notes_must_be_plain(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} must be made of finite numbers, strings"):
        write(tmp_path / "run.json", pd.DataFrame({"x": [1]}), **{name: {"a": value}})


@pytest.mark.parametrize(
    "damage", [lambda t: t[: len(t) // 2], lambda t: "", lambda t: "[]", lambda t: t.replace("values", "value")]
)
def test_a_damaged_record_is_an_error_that_says_what_to_do(tmp_path, damage):
    path = tmp_path / "run.json"
    write(path, pd.DataFrame({"x": [1]}))
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError, match=r"run\.json is not a readable record: delete it"):
        read_record(path)


def test_a_missing_record_is_one_too(tmp_path):
    with pytest.raises(RecordError, match=r"run what writes it \(FileNotFoundError"):
        read_record(tmp_path / "run.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write(path, pd.DataFrame({"x": [1]}))

    def full(descriptor):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            write(path, pd.DataFrame({"x": [2]}))
    assert read_record(path).table.x.tolist() == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_the_provenance_is_true(tmp_path, monkeypatch):
    clock = time.monotonic()
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    started = start()
    monkeypatch.setattr(sys, "orig_argv", ["/somewhere/python3", "-m", "vaelib.experiments", "seeds", "--out", "a b"])
    monkeypatch.setattr(time, "monotonic", lambda: started.clock + 12.3456)
    record = write(
        tmp_path / "run.json",
        pd.DataFrame({"x": [1]}),
        name="mine",
        settings={"epochs": 5, "hidden": (400,)},
        seeds=[3, 1],
        started=started,
        notes={"resumed": True},
    )
    assert (record.name, record.settings, record.seeds) == ("mine", {"epochs": 5, "hidden": [400]}, [3, 1])
    found = record.provenance
    assert found["command"] == "python -m vaelib.experiments seeds --out 'a b'"
    assert found["seconds"] == 12.346
    assert found["resumed"] is True
    date = datetime.datetime.fromisoformat(found["date"])
    assert before <= date <= datetime.datetime.now(datetime.UTC)
    assert date.utcoffset() == datetime.timedelta(0)
    assert started.clock >= clock
    # A wheel may call itself 2.7.0 where torch.__version__ is 2.7.0+cu126.
    versions = {name: version.partition("+")[0] for name, version in found["versions"].items()}
    assert versions == {
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "vaelib": "0.1.0",
    }
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert 1 <= found["machine"]["cores"] <= os.cpu_count()
    assert (found["machine"]["gpu"] is None) is not torch.accelerator.is_available()
    if Path("/proc/cpuinfo").exists():
        assert f": {found['machine']['processor']}\n" in Path("/proc/cpuinfo").read_text()


# The commit


@pytest.fixture
def no_outer_git(monkeypatch):
    """A hook of git runs its commands with the repository in the environment."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.usefixtures("no_outer_git")
def test_the_commit_is_that_of_vaelib():
    records._own_checkout.cache_clear()
    folder = Path(vaelib.__file__).parent
    inside = subprocess.run(["git", "-C", folder, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True)
    if inside.returncode == 0:
        assert start().git["commit"] == git(folder, "rev-parse", "HEAD")
    else:
        assert start().git is None


@pytest.mark.usefixtures("no_outer_git")
def test_a_checkout_is_dirty_when_a_python_file_differs(tmp_path):
    (tmp_path / "inner").mkdir()
    code, other, ignored = tmp_path / "inner/code.py", tmp_path / "other.py", tmp_path / "inner/installed.py"
    code.write_text("1\n")
    other.write_text("1\n")
    assert checkout(code) is None
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("installed.py\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    clean = {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    assert checkout(code) == clean
    (tmp_path / "record.json").write_text("{}")
    ignored.write_text("1\n")
    assert checkout(code) == clean
    assert checkout(ignored) is None
    other.write_text("2\n")
    assert checkout(code) == {**clean, "dirty": True}
    git(tmp_path, "commit", "-am", "two")
    assert checkout(code) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False} != clean
    (tmp_path / "inner/new.py").write_text("1\n")
    assert checkout(code)["dirty"] is True


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout(Path(vaelib.__file__)) is None


def test_published_records_are_found_in_the_checkout_or_where_they_were_installed(tmp_path, monkeypatch):
    assert records.published("full-covariance-cpu").name == "full-covariance-cpu"
    with pytest.raises(RecordError, match="no record is called 'nothing': see benchmarks/records and book/records"):
        records.published("nothing")
    write_record(tmp_path / "away.json", name="away", settings={}, seeds=[], table=pd.DataFrame(), started=start())

    class Installed:
        name = "away.json"

        def locate(self):
            return tmp_path / self.name

    monkeypatch.setattr(records.metadata, "files", lambda package: [Installed()])
    assert records.published("away").name == "away"
