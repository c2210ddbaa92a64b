"""Every profile is a configuration that Nextflow reads, says who ran it, and sets what it must."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN_BY_US = {"podman", "charliecloud", "slurm"}
ENGINES = {"podman", "docker", "apptainer", "charliecloud"}
QUEUED = {"slurm", "pbspro", "sge", "lsf"}
NATIVE = {"k8s", "awsbatch"}
PROFILES = ENGINES | QUEUED | NATIVE
_TOLD = re.compile(r"^\| `(\w+)` \|.*\| (run by us|from the documentation) \|$", re.MULTILINE)
_SETTING = re.compile(r"^profiles\.(\w+)\.(\S+) = (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def profiles(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the settings of each profile as Nextflow reads them; one start for all."""
    done = subprocess.run(
        [Path(sys.executable).with_name("nextflow"), "config", "-show-profiles", "-flat", root],
        cwd=tmp_path_factory.mktemp("config"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stdout, done.stdout
    found: dict[str, dict[str, str]] = {}
    for name, key, value in _SETTING.findall(done.stdout):
        found.setdefault(name, {})[key] = value
    return found


def head(root: Path, name: str) -> str:
    return (root / f"conf/{name}.config").read_text(encoding="utf-8").partition("\n")[0]


def test_every_file_of_a_profile_can_be_chosen_by_its_name(root: Path) -> None:
    config = (root / "nextflow.config").read_text(encoding="utf-8")
    chosen = dict(re.findall(r"(\w+) +\{ includeConfig 'conf/(\w+)\.config' \}", config))
    assert chosen == {name: name for name in PROFILES}


def test_nextflow_reads_every_profile(profiles: dict[str, dict[str, str]]) -> None:
    assert profiles.keys() >= PROFILES


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_that_we_did_not_run_says_so_in_its_first_line(root: Path, name: str) -> None:
    said = bool(re.match(r"// Written from .*documentation.*; not run by us\b", head(root, name)))
    assert said == (name not in RUN_BY_US)


def test_the_page_tells_of_each_profile_whether_we_ran_it(root: Path) -> None:
    page = (root / "docs/cluster.md").read_text(encoding="utf-8")
    told = dict(
        re.findall(r"^\| `(\w+)` \|.*\| (run by us|from the documentation) \|$", page, re.M)
    )
    assert told == {
        name: "run by us" if name in RUN_BY_US else "from the documentation" for name in PROFILES
    }


@pytest.mark.parametrize("name", sorted(QUEUED | NATIVE))
def test_a_scheduler_is_asked_for_what_the_parameters_allow(
    profiles: dict[str, dict[str, str]], root: Path, name: str
) -> None:
    settings = profiles[name]
    assert settings["process.executor"] == f"'{name}'"
    assert re.fullmatch(r"'\d+/1s'", settings["executor.submitRateLimit"])
    assert settings["executor.pollInterval"]
    text = (root / f"conf/{name}.config").read_text(encoding="utf-8")
    assert "resourceLimits" not in text, "it would hide the limits that the parameters state"
    if name in QUEUED:
        assert "params.queue" in settings["process.queue"]
        # Slurm's are told over several lines.
        assert "params.cluster_options" in settings["process.clusterOptions"] + text
    assert "params.cluster = true" in text or "'cluster.config'" in text


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_container_profile_enables_its_own_engine_and_no_other(
    profiles: dict[str, dict[str, str]], root: Path, name: str
) -> None:
    text = (root / f"conf/{name}.config").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)\.enabled", text, re.MULTILINE) == [name]
    assert profiles[name][f"{name}.enabled"] == "true"
    # A closure: a site's file, which is read later, may set what stands in it.
    assert profiles[name]["process.container"].startswith("{")


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_container_is_given_the_supervisors_variables(
    profiles: dict[str, dict[str, str]], root: Path, name: str
) -> None:
    source = (root / "bin/cohortflow/core/supervise.py").read_text(encoding="utf-8")
    read = set(re.findall(r'environment\.get\("(COHORTFLOW_\w+)"', source))
    passed = set(profiles[name][f"{name}.envWhitelist"].strip("'").split(","))
    # A process id of the machine means nothing where the container has its own.
    assert read - {"COHORTFLOW_ENGINE"} <= passed
    assert not [variable for variable in passed if "URL" in variable or "TOKEN" in variable]


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_only_what_sends_something_is_given_a_token_and_by_name(
    profiles: dict[str, dict[str, str]], name: str
) -> None:
    options = {
        key: value for key, value in profiles[name].items() if key.endswith("containerOptions")
    }
    given = {key for key, value in options.items() if "HF_" in value}
    assert given == {"process.'withLabel:network'.containerOptions"}
    text = options[given.pop()]
    assert not re.search(r"\$\{?HF_(TOKEN\b|ENDPOINT)", text), "its value would be in a command"
    assert "--network=none" not in text


@pytest.mark.parametrize("name", sorted(ENGINES - {"charliecloud"}))
def test_a_step_cannot_write_to_its_inputs(profiles: dict[str, dict[str, str]], name: str) -> None:
    assert profiles[name][f"{name}.writableInputMounts"] == "false"


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_container_ends_with_its_task_and_carries_its_runs_labels(
    profiles: dict[str, dict[str, str]], name: str
) -> None:
    options = profiles[name][f"{name}.runOptions"]
    assert {"--init", "--rm", "--pull=never"} <= set(re.findall(r"--[\w=-]+", options))
    assert set(re.findall(r'--label "?cohortflow\.(\w+)=', options)) == {"run", "out", "engine"}
    assert "--network=none" in profiles[name]["process.containerOptions"]


def test_docker_makes_files_that_belong_to_the_user(profiles: dict[str, dict[str, str]]) -> None:
    assert '-u "$(id -u):$(id -g)"' in profiles["docker"]["docker.runOptions"]


@pytest.mark.parametrize("name", sorted(NATIVE))
def test_where_every_task_is_a_container_what_looks_after_them_stays_on_the_head(
    profiles: dict[str, dict[str, str]], name: str
) -> None:
    assert profiles[name]["process.'withLabel:here'.executor"] == "'local'"
    assert profiles[name]["process.'withLabel:here'.container"] == "null"


@pytest.mark.parametrize("name", ["pbspro", "sge"])
def test_a_scheduler_that_keeps_the_environment_to_itself_is_given_the_path(
    profiles: dict[str, dict[str, str]], name: str
) -> None:
    assert "-v PATH" in profiles[name]["process.clusterOptions"]
