"""The progress bar shows where it should and only there."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from vaelib.progress import progress_bar


def test_shows_in_a_terminal_unless_told_not_to(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    progress_bar(3, unit="epoch", initial=1).close()
    assert "1/3" in capsys.readouterr().err
    progress_bar(3, unit="epoch", show=False).close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("value", "shown"), [("1", False), ("0", True), ("", True)])
def test_obeys_the_variable_also_in_a_notebook(monkeypatch, value, shown):
    monkeypatch.setenv("TQDM_DISABLE", value)
    code = "from vaelib.progress import progress_bar\nprogress_bar(3, unit='epoch').close()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3").execute()
    assert bool(notebook.cells[0].outputs) is shown


def test_importing_it_warns_of_nothing():
    subprocess.run([sys.executable, "-W", "error", "-c", "import vaelib.progress"], check=True)
