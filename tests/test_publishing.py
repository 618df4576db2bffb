"""What GitHub and those who cite the book read: the files are of the form asked for, and agree with the book."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github/workflows/book.yml"
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
SCHEMAS = {  # check-jsonschema brings them: nothing is fetched
    "vendor.github-workflows": [WORKFLOW],
    "custom.github-workflows-require-timeout": [WORKFLOW],
    "vendor.github-issue-forms": FORMS,
    "vendor.citation-file-format": [ROOT / "CITATION.cff"],
}
ON_MAIN = "github.ref == 'refs/heads/{branch}' && github.event_name != 'pull_request'"


def read(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text("utf8")))


@pytest.fixture(scope="module")
def config() -> dict[Any, Any]:
    return read(ROOT / "_config.yml")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"])


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return dict(read(WORKFLOW)["jobs"])


@pytest.mark.parametrize(("schema", "files"), SCHEMAS.items(), ids=SCHEMAS)
def test_schema(schema: str, files: list[Path]) -> None:
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def test_workflow_runs_the_checks_before_it_publishes(jobs: dict[str, Any]) -> None:
    commands = [step["run"] for step in jobs["book"]["steps"] if "run" in step]
    assert commands[:2] == ["make test", "make site-test"]
    assert commands[2].removeprefix(".venv/bin/python ") in (ROOT / ".ci/run").read_text("utf8")
    assert len(commands) == 3
    assert jobs["publish"]["needs"] == "book"


def test_only_main_is_published(jobs: dict[str, Any], config: dict[str, Any]) -> None:
    workflow = read(WORKFLOW)
    branch = config["repository"]["branch"]
    condition = ON_MAIN.format(branch=branch)
    assert workflow[True]["push"]["branches"] == [branch]  # to YAML 1.1, `on` is true
    assert jobs["publish"]["if"] == condition
    assert workflow["env"]["PUBLISHES"] == "${{ " + condition + " }}"
    steps = jobs["book"]["steps"]
    last = next(number for number, step in enumerate(steps) if "pages" in step.get("uses", ""))
    assert [step["if"] for step in steps[last:]] == ["env.PUBLISHES == 'true'"] * 2
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]


def test_caches_are_keyed_on_files_that_exist(jobs: dict[str, Any]) -> None:
    keys = [step["with"]["key"] for step in jobs["book"]["steps"] if "actions/cache@" in step.get("uses", "")]
    hashed = [re.findall(r"'([^']+)'", key) for key in keys]
    assert hashed == [["book/**", "vaelib/**", "requirements.txt", "pyproject.toml"], ["vaelib/data.py"]]
    assert all(list(ROOT.glob(pattern)) for patterns in hashed for pattern in patterns)
    assert "SHA256" in (ROOT / "vaelib/data.py").read_text("utf8").upper()


def test_workflow_uses_the_oldest_python(jobs: dict[str, Any], project: dict[str, Any]) -> None:
    (version,) = [step["with"]["python-version"] for step in jobs["book"]["steps"] if "setup-python" in str(step)]
    assert project["requires-python"] == f">={version}"


def test_citation_is_that_of_the_book(config: dict[str, Any], project: dict[str, Any]) -> None:
    citation = read(ROOT / "CITATION.cff")
    url = config["repository"]["url"]
    owner, name = urlsplit(url).path.strip("/").split("/")
    assert citation["title"] == (ROOT / "README.md").read_text("utf8").splitlines()[0].removeprefix("# ")
    assert citation["title"].startswith(config["title"])
    assert citation["authors"] == [{"name": config["author"]}]
    assert citation["version"] == project["version"]
    assert citation["repository-code"] == url
    assert citation["url"] == f"https://{owner}.github.io/{name}/"
    assert citation["license"] == [project["license"], "CC-BY-4.0"] == ["MIT", "CC-BY-4.0"]


def test_licences(config: dict[str, Any], project: dict[str, Any]) -> None:
    code, text = (ROOT / path for path in ("LICENSE", "book/LICENSE"))
    assert project["license-files"] == ["LICENSE"]
    assert project["authors"] == [{"name": config["author"]}]
    assert code.read_text("utf8").startswith(f"MIT License\n\nCopyright (c) {config['copyright']} {config['author']}\n")
    # A licence is not edited: this is the text that Creative Commons publishes.
    hashed = hashlib.sha256(text.read_bytes()).hexdigest()
    assert hashed == "f5b745ef98087f531e719ee8ca6a96809444573ecc7173c6fa68eaad39b3cc3f"
    for file in ("README.md", "_config.yml"):
        assert re.search(r"MIT.*CC BY 4\.0|CC BY 4\.0.*MIT", (ROOT / file).read_text("utf8"), re.DOTALL)
