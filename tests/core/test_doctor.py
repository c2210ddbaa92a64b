"""The doctor says what is there, what is missing, and what to do; it never guesses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cohortflow.core import doctor, images
from cohortflow.core.doctor import Finding, Machine
from cohortflow.core.needs import LANES, Need


def program(folder: Path, name: str, says: str, status: int = 0) -> Path:
    """Make a program that prints one line."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def engine(folder: Path, name: str, knows: str) -> None:
    """Make a container engine that answers, and has one image."""
    text = f'case "$1 $2" in "image inspect") [ "$5" = "{knows}" ] ;; *) echo 4.3.1 ;; esac'
    path = program(folder, name, "")
    path.write_text(f"#!/bin/sh\n{text}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with an empty environment and nothing on PATH but a shell's own tools."""
    (tmp_path / "path").mkdir()
    return Machine(tmp_path / "env", {"PATH": str(tmp_path / "path")}, tmp_path)


def test_an_empty_machine_is_unhealthy_and_every_gap_has_a_remedy(machine: Machine) -> None:
    found = doctor.findings(machine)
    gaps = {finding.name for finding in found if finding.status == "missing"}
    assert {"Java", "Nextflow", "dcm2niix"} <= gaps
    assert not doctor.healthy(found)
    assert all(f.remedy for f in found if f.status != "ok")


def test_a_machine_with_the_required_programs_is_healthy_without_the_optional_ones(
    machine: Machine, tmp_path: Path
) -> None:
    program(tmp_path / "path", "java", 'openjdk version "17.0.15" 2025-04-15')
    program(tmp_path / "path", "nextflow", "      version 24.10.0 build 5928")
    program(tmp_path / "path", "dcm2niix", "dcm2niiX version v1.0.20240202", 3)
    found = {finding.name: finding for finding in doctor.findings(machine)}
    assert doctor.healthy(list(found.values()))
    assert found["dcm2niix"].version == "1.0.20240202"
    assert found["dcm2niix"].needed_by == "dwi"
    assert found["Podman"].status == "optional"


@pytest.mark.parametrize(
    ("version", "status"),
    [("11.0.2", "missing"), ("16.0.1", "missing"), ("17.0.1", "ok"), ("21.0.8", "ok"),
     ("23.0.1", "ok"), ("24.0.1", "missing"), ("1.8.0_392", "missing")],
)  # fmt: skip
def test_java_must_be_17_to_23(machine: Machine, tmp_path: Path, version: str, status: str) -> None:
    java = program(tmp_path / "path", "java", f'openjdk version "{version}"')
    finding = doctor.java(machine)
    assert finding.status == status
    if status == "missing":
        assert str(java) in finding.remedy


def test_the_environments_own_java_wins_over_path(machine: Machine, tmp_path: Path) -> None:
    program(tmp_path / "path", "java", 'openjdk version "11.0.2"')
    own = program(machine.prefix / "opt" / "java" / "bin", "java", 'openjdk version "21.0.8"')
    assert doctor.java(machine) == Finding("Java", "ok", "21.0.8", str(own), "", "Nextflow")


@pytest.mark.parametrize(
    ("says", "status"),
    [("version 24.10.0 build 1", "ok"), ("version 25.04.6", "ok"), ("version 26.10.3", "ok"),
     ("version 23.10.1", "missing"), ("version 24.4.4", "missing"), ("no idea", "missing")],
)  # fmt: skip
def test_nextflow_must_be_24_10_or_newer(
    machine: Machine, tmp_path: Path, says: str, status: str
) -> None:
    program(tmp_path / "path", "nextflow", says)
    assert doctor.nextflow(machine).status == status


def test_a_program_in_the_environment_is_found_without_activation(machine: Machine) -> None:
    where = program(machine.prefix / "bin", "dcm2niix", "version v1.0.20240202")
    need = next(need for need in LANES["dwi"] if need.target == "dcm2niix")
    assert doctor.check(need, "dwi", machine).where == str(where)


def test_an_absent_package_is_missing_only_when_it_is_required(machine: Machine) -> None:
    for required, status in ((True, "missing"), (False, "optional")):
        need = Need("Nothing", "package", "no_such_package_here", "install it", required)
        assert doctor.check(need, "dwi", machine).status == status


def test_little_memory_is_said_but_does_not_forbid_a_run(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 2000000 kB\nMemAvailable:   524288 kB\n")
    finding = doctor.free_memory(table)
    assert finding.status == "optional"
    assert finding.version.startswith("0.5 GiB free")
    assert doctor.free_memory(tmp_path / "absent").remedy


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert doctor.free_disk(tmp_path / "not" / "yet").where == str(tmp_path)


def test_a_proxys_password_is_never_shown() -> None:
    finding = doctor.network({"HTTPS_PROXY": "http://anna:secret@proxy:3128"})
    assert finding.version == "HTTPS_PROXY"
    assert "secret" not in str(finding)


def test_a_certificate_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    finding = doctor.network({"PIP_CERT": str(tmp_path / "absent.pem")})
    assert finding.status == "optional"
    assert finding.remedy.startswith("PIP_CERT names a file that is not there")


def test_the_table_says_in_words_what_it_says_in_colours(machine: Machine) -> None:
    console = Console(width=200, color_system=None, record=True)
    console.print(doctor.table(doctor.findings(machine)))
    text = console.export_text()
    for words in ("missing", "optional", "ok", "run `make setup`", "dcm2niix"):
        assert words in text


def test_a_container_client_whose_engine_does_not_answer_is_not_ok(
    machine: Machine, tmp_path: Path
) -> None:
    docker = program(tmp_path / "path", "docker", "Version: 28.2.2\nNo engine answers", 1)
    found = {finding.name: finding for finding in doctor.findings(machine)}
    assert found["Docker"].status == "optional"
    assert found["Docker"].version == "28.2.2"
    assert f"{docker} is of no use here (No engine answers)" in found["Docker"].remedy
    assert "dwi image, Docker" not in found


def test_the_image_of_each_runtime_is_shown_with_the_way_to_make_it(
    machine: Machine, tmp_path: Path
) -> None:
    engine(tmp_path / "path", "podman", knows=images.name("dwi"))
    engine(tmp_path / "path", "docker", knows="another:1")
    found = {finding.name: finding for finding in doctor.findings(machine)}
    image = images.name("dwi")
    assert found["dwi image, Podman"] == Finding(
        "dwi image, Podman", "ok", images.tag("dwi"), image, "", "containers"
    )
    assert found["dwi image, Docker"].status == "optional"
    assert found["dwi image, Docker"].remedy == (
        f"{image} is not here: run `make images RUNTIME=docker`"
    )
    assert "dwi image, Apptainer" not in found


def test_images_are_looked_for_where_a_run_would_look(machine: Machine, tmp_path: Path) -> None:
    program(tmp_path / "path", "ch-run", "0.31")
    engine(tmp_path / "path", "podman", knows=images.name("dwi", "hub/lab"))
    folder = images.folder("dwi", tmp_path / "images")
    (folder / "ch").mkdir(parents=True)
    (folder / "ch" / "environment").touch()
    site = replace(machine, image_prefix="hub/lab", image_folder=tmp_path / "images")
    found = {finding.name: finding for finding in doctor.findings(site)}
    assert found["dwi image, Podman"].where == images.name("dwi", "hub/lab")
    assert found["dwi image, Charliecloud"].where == str(folder)
