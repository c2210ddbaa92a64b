"""Images are made when they are not there, from what the machine has, or one line says why not.

Podman, Docker and mmdebstrap are scripts here that note how they were called; the real ones are
tried in tests/engines.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from cohortflow.core import images

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = """
awk basename bash cat chmod cp cut dirname env flock grep ls mkdir mktemp mv rm sed sh sha256sum
tail tar touch tr
"""
# Notes each call; knows the images listed in a file; a build adds one and notes what it is given.
ENGINE = """#!/bin/sh
echo "{name} $*" >> "{calls}"
case "$1 $2" in
"version "*) {version} ;;
"image inspect")
    for last; do :; done
    grep -qxF "$last" "{known}" || exit 1
    echo PATH=/opt/cohortflow/bin; echo LANG=C.UTF-8; echo OTHER=1 ;;
"pull "*) {pull} ;;
"import "*) for last; do :; done; echo "$last" >> "{known}" ;;
"build "*)
    {build}
    for last; do :; done
    (cd "$last" && ls -d * wheels/*) > "{context}"
    while [ $# -gt 0 ]; do [ "$1" = --tag ] && echo "$2" >> "{known}"; shift; done ;;
"create "*) echo container ;;
"export "*) {export} ;;
esac
"""
MMDEBSTRAP = '#!/bin/sh\necho "mmdebstrap" >> "{calls}"\n'
BASE = "localhost/cohortflow-base:bookworm"


@dataclass(frozen=True)
class Place:
    """A copy of the recipes, and a machine's PATH."""

    root: Path
    path: Path
    calls: Path
    known: Path
    context: Path

    @property
    def image(self) -> str:
        return images.name("dwi", root=self.root)

    @property
    def folder(self) -> Path:
        return images.folder("dwi", root=self.root)

    def engine(self, name: str = "podman", **parts: str) -> None:
        usual = {"version": "exit 0", "pull": "exit 1", "build": "", "export": "exit 1"}
        self.program(name, ENGINE, name=name, **(usual | parts))

    def program(self, name: str, text: str, /, **parts: str) -> None:
        places = {"calls": self.calls, "known": self.known, "context": self.context}
        (self.path / name).write_text(text.format(**places, **parts))
        (self.path / name).chmod(0o755)

    def knows(self, image: str) -> None:
        with self.known.open("a") as known:
            known.write(f"{image}\n")

    def make(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "containers" / "build.sh")],
            capture_output=True,
            check=False,
            env={"PATH": str(self.path), "TMPDIR": str(self.root.parent / "tmp"), **environment},
            text=True,
            timeout=60,
        )

    def called(self, word: str) -> list[str]:
        """Return the calls of one kind, for example ``podman build``."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.startswith(word)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine with the system's own tools, and nothing else."""
    parts = (tmp_path / name for name in ("path", "calls", "known", "context"))
    place = Place(tmp_path / "check out", *parts)
    for folder in (place.path, tmp_path / "tmp", place.root):
        folder.mkdir()
    place.known.touch()
    for name in SYSTEM.split():
        if found := shutil.which(name):
            (place.path / name).symlink_to(found)
    shutil.copytree(ROOT / "containers", place.root / "containers")
    for recipe in (place.root / "containers").glob("*/Containerfile"):
        if recipe.parent.name != "dwi":  # one lane shows what is done for each
            shutil.rmtree(recipe.parent)
    (place.root / "requirements.lock").write_text("click==8.1 \\\n    --hash=sha256:aa\n")
    (place.root / "nextflow.config").write_text("manifest {\n    version         = '0.7.1'\n}\n")
    return place


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one error line of a build that failed."""
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if "ERROR" in line]
    assert len(errors) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == errors[0]
    return errors[0]


def test_an_image_that_is_there_is_not_built_again(place: Place) -> None:
    place.engine()
    place.knows(place.image)
    result = place.make()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert place.calls.read_text() == f"podman image inspect {place.image}\n"


def test_a_missing_image_is_built_under_the_name_that_a_run_asks_for(place: Place) -> None:
    place.engine()
    place.knows(BASE)
    assert place.make().returncode == 0
    assert place.known.read_text().splitlines()[-1] == place.image
    (build,) = place.called("podman build")
    assert f"--build-arg BASE_IMAGE={BASE} " in build
    assert "--build-arg VERSION=0.7.1 " in build


def test_a_changed_lock_is_a_new_image(place: Place) -> None:
    place.engine()
    place.knows(BASE)
    place.make()
    before = place.image
    (place.root / "requirements.lock").write_text("click==8.2 \\\n    --hash=sha256:bb\n")
    place.make()
    assert place.image != before
    assert len(place.called("podman build")) == 2


def test_the_engine_sees_the_lock_and_the_wheels_and_nothing_else(
    place: Place, tmp_path: Path
) -> None:
    place.engine()
    place.knows(BASE)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "click-8.1-py3-none-any.whl").touch()
    assert place.make(WHEELS=str(tmp_path / "wheels")).returncode == 0
    assert place.context.read_text().split() == [
        "requirements.lock", "wheels", "wheels/click-8.1-py3-none-any.whl"
    ]  # fmt: skip


def test_the_base_that_the_recipe_names_is_pulled_where_it_can_be(place: Place) -> None:
    place.engine(pull="exit 0")
    assert place.make().returncode == 0
    (build,) = place.called("podman build")
    assert "--build-arg BASE_IMAGE=python:3.11-slim-bookworm " in build


def test_without_a_registry_the_base_is_made_once_on_this_machine(place: Place) -> None:
    place.engine()
    place.program("mmdebstrap", MMDEBSTRAP)
    assert "making a base image with mmdebstrap" in place.make().stderr
    assert place.make(IMAGE_PREFIX="lab").returncode == 0
    assert len(place.called("mmdebstrap")) == 1
    assert len(place.called("podman pull")) == 1
    assert all(f"BASE_IMAGE={BASE} " in build for build in place.called("podman build"))


def test_without_a_registry_and_mmdebstrap_one_line_says_what_to_do(place: Place) -> None:
    place.engine(pull="echo no such host >&2; exit 1")
    error = only_line(place.make())
    assert "python:3.11-slim-bookworm cannot be pulled (no such host)" in error
    assert "install mmdebstrap" in error
    assert not place.called("podman build")


def test_a_base_that_was_asked_for_is_never_replaced(place: Place) -> None:
    place.engine()
    place.program("mmdebstrap", MMDEBSTRAP)
    place.knows(BASE)
    assert "lab/python:1 cannot be pulled" in only_line(place.make(BASE_IMAGE="lab/python:1"))


def test_docker_is_used_where_there_is_no_podman(place: Place) -> None:
    place.engine("docker", pull="exit 0")
    assert place.make().returncode == 0
    assert place.called("docker build")


def test_a_docker_without_its_engine_builds_nothing(place: Place) -> None:
    place.engine("docker", version="exit 1")
    assert "neither answers here: install Podman" in only_line(place.make())
    assert "docker does not answer: start it" in only_line(place.make(RUNTIME="docker"))


def test_certificates_and_addresses_with_passwords_are_not_written_into_the_image(
    place: Place, tmp_path: Path
) -> None:
    place.engine()
    place.knows(BASE)
    (tmp_path / "site.pem").touch()
    place.make(
        PIP_CERT=str(tmp_path / "site.pem"),
        PIP_INDEX_URL="https://anna:secret@mirror/simple",
        HTTPS_PROXY="http://anna:secret@proxy:3128",
    )
    (build,) = place.called("podman build")
    assert f"--secret id=ca,src={tmp_path}/site.pem " in build
    assert "--secret id=index,src=" in build
    assert "--build-arg HTTPS_PROXY " in build
    assert "secret@" not in build


def test_a_certificate_file_that_is_not_there_is_named(place: Place) -> None:
    place.engine()
    place.knows(BASE)
    assert "SSL_CERT_FILE names /none.pem" in only_line(place.make(SSL_CERT_FILE="/none.pem"))


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "PIP_CERT=FILE"),
        ("x509: certificate signed by unknown authority", "PIP_CERT=FILE"),
        ("NewConnectionError: Connection refused", "set HTTPS_PROXY"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "check the mirror"),
        ("write: no space left on device", "free some space"),
        ("ERROR: No matching distribution found for click==8.1", "fill WHEELS again"),
        ("trouble", "see the log"),
    ],
)
def test_a_failed_build_says_in_one_line_why_and_keeps_its_log(
    place: Place, said: str, remedy: str
) -> None:
    place.engine(build=f"echo '{said}' >&2; exit 125")
    place.knows(BASE)
    error = only_line(place.make())
    assert error.startswith("images: ERROR the image of dwi could not be built: ")
    assert remedy in error
    log = Path(error.rpartition("(log: ")[2].rstrip(")"))
    assert said in log.read_text()


def test_a_runtime_that_is_not_known_is_answered_with_those_that_are(place: Place) -> None:
    place.engine()
    assert "choose podman, docker, charliecloud or apptainer" in only_line(place.make(RUNTIME="x"))


def test_a_folder_for_charliecloud_has_its_mount_points_and_environment(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "system" / "opt").mkdir(parents=True)
    (tmp_path / "system" / "dev").mkdir()
    (tmp_path / "system" / "dev" / "node").touch()
    place.engine(export=f"tar -c -C {tmp_path}/system .")
    place.knows(place.image)
    assert place.make(RUNTIME="charliecloud").returncode == 0
    assert images.present("charliecloud", str(place.folder))
    assert (place.folder / "ch" / "environment").read_text() == (
        "PATH=/opt/cohortflow/bin\nLANG=C.UTF-8\n"
    )
    assert {"dev", "proc", "sys", "tmp", "opt"} <= {path.name for path in place.folder.iterdir()}
    assert not list((place.folder / "dev").iterdir())
    assert place.called("podman rm container")


def test_a_folder_that_is_there_needs_no_engine(place: Place) -> None:
    place.folder.mkdir(parents=True)
    result = place.make(RUNTIME="charliecloud")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_folder_that_could_not_be_completed_is_not_there(place: Place) -> None:
    place.engine(export="echo half; exit 1")
    place.knows(place.image)
    assert "could not be made" in only_line(place.make(RUNTIME="charliecloud"))
    assert list((place.root / ".images").iterdir()) == []
    assert place.called("podman rm container")


def test_apptainer_makes_its_file_from_the_image(place: Place) -> None:
    place.engine()
    place.knows(place.image)
    assert "apptainer is not on PATH" in only_line(place.make(RUNTIME="apptainer"))
    place.program("apptainer", '#!/bin/sh\necho "apptainer $*" >> "{calls}"\ntouch "$2"\n')
    assert place.make(RUNTIME="apptainer").returncode == 0
    assert images.file("dwi", root=place.root).is_file()
    (build,) = place.called("apptainer build")
    assert " docker-archive:" in build


def test_nothing_but_the_log_of_a_failure_is_left_behind(place: Place, tmp_path: Path) -> None:
    place.engine()
    place.knows(BASE)
    place.make()
    left = [path.name for path in (tmp_path / "tmp").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
