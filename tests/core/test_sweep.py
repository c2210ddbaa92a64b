"""The sweep's own rules, with engines that are scripts; tests/engines holds it to real ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cohortflow.core import sweep
from cohortflow.core.outcome import Category, Failure
from cohortflow.core.sweep import Patience

HERE = socket.gethostname()
GONE = 4_194_305  # above the largest process id
ONE, TWO = "1" * 64, "2" * 64

# Keeps a line for each container in `there`, and every call in `asked`.
ENGINE = """#!/bin/sh
cd {folder} && echo "$0 $*" >>asked
case $1 in
ps) cat there ;;
rm) : >there ;;
esac
"""
SQUEUE = """#!/bin/sh
cd {folder} && echo "squeue $*" >>asked && env >environment && cat there
"""
SCANCEL = """#!/bin/sh
cd {folder} && echo "scancel $*" >>asked && : >there
"""


class Scripts:
    """The folder that PATH names, and nothing else: what is not written is not installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str, there: str = "") -> None:
        place = self.folder / f"{name}.d"
        place.mkdir(exist_ok=True)
        (place / "there").write_text(there)
        (place / "asked").touch()
        script = self.folder / name
        script.write_text(text.replace("{folder}", str(place)))
        script.chmod(0o755)

    def asked(self, name: str) -> str:
        return (self.folder / f"{name}.d" / "asked").read_text()

    def there(self, name: str) -> str:
        return (self.folder / f"{name}.d" / "there").read_text()

    def slurm(self, there: str) -> None:
        self.write("squeue", SQUEUE, there)
        self.write("scancel", SCANCEL.replace("{folder}", str(self.folder / "squeue.d")))


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripts:
    folder = tmp_path / "scripts"
    folder.mkdir()
    for program in ("cat", "env", "sleep"):
        path = next(p for p in map(Path, ("/bin", "/usr/bin")) if (p / program).exists())
        (folder / program).symlink_to(path / program)
    monkeypatch.setenv("PATH", str(folder))
    return Scripts(folder)


def container(out: Path, run: str = "r1", engine: str = f"{HERE}:{GONE}", one: str = ONE) -> str:
    return f"{one}|{sweep.label(out)}|{engine}|{run}\n"


def job(out: Path, run: str = "r1", engine: str = f"{HERE}:{GONE}", one: str = "7") -> str:
    return f"{one}|cohortflow:{sweep.label(out)}:{run}:{engine}\n"


def test_the_name_of_an_output_is_that_of_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert sweep.label("/data/out") == "e6e5374ef7478c00"  # printf /data/out | sha256sum
    for same in ("data/out", "/data/out/", "/data/other/../out", Path("data/./out")):
        assert sweep.label(same) == sweep.label("/data/out")
    assert sweep.label("/data/out2") != sweep.label("/data/out")


def test_an_engine_that_is_not_installed_is_not_asked(scripts: Scripts, out: Path) -> None:
    assert sweep.sweep(out) == sweep.Swept()
    assert sweep.Swept().lines() == []


def test_only_the_engines_that_are_named_are_asked(scripts: Scripts, out: Path) -> None:
    scripts.write("podman", ENGINE)
    scripts.write("docker", ENGINE)
    sweep.sweep(out, kinds=["docker"])
    assert scripts.asked("docker")
    assert not scripts.asked("podman")


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_containers_are_stopped_with_a_grace_then_removed(
    scripts: Scripts, out: Path, kind: str
) -> None:
    scripts.write(kind, ENGINE, container(out) + container(out, one=TWO))
    swept = sweep.sweep(out, patience=Patience(grace=3))
    assert swept.ended == {kind: 2}
    assert swept.line() == f"ended 2 {kind} containers that an earlier run left"
    asked = [line.partition(f"{kind} ")[2] for line in scripts.asked(kind).splitlines()]
    assert asked[0].startswith(
        f"ps --all --no-trunc --filter=label=cohortflow.out={sweep.label(out)}"
    )
    assert asked[1:4] == [
        f"stop -t 3 {ONE} {TWO}",
        f"kill --signal=KILL {ONE} {TWO}",
        f"rm --force {ONE} {TWO}",
    ]


def test_docker_and_podman_are_asked_for_labels_each_in_its_own_words(
    scripts: Scripts, out: Path
) -> None:
    for kind in ("docker", "podman"):
        scripts.write(kind, ENGINE)
    sweep.sweep(out)
    assert '{{.Label "cohortflow.run"}}' in scripts.asked("docker")
    assert '{{index .Labels "cohortflow.run"}}' in scripts.asked("podman")


def test_an_array_of_jobs_is_cancelled_once(scripts: Scripts, out: Path) -> None:
    scripts.slurm(job(out, one="12_3") + job(out, one="12_4") + job(out, one="9"))
    assert sweep.sweep(out).line() == "ended 3 slurm jobs that an earlier run left"
    assert "scancel 12 9\n" in scripts.asked("squeue")


def test_a_user_s_own_settings_hide_no_job_and_ask_no_question(
    scripts: Scripts, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SCANCEL_INTERACTIVE", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    scripts.slurm(job(out))
    sweep.sweep(out)
    environment = (scripts.folder / "squeue.d" / "environment").read_text()
    assert "SQUEUE_" not in environment
    assert "SCANCEL_" not in environment
    assert "SLURM_CONF=/etc/slurm/slurm.conf" in environment


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho first >&2\necho 'no database' >&2\nexit 125\n", "no database"),
        ("#!/bin/sh\nexit 3\n", "podman exits with 3"),
        ("#!/nowhere/sh\n", "podman: No such file or directory"),
        ("#!/bin/sh\nexec sleep 60\n", "`podman ps` said nothing for 2 s"),
        ("#!/bin/sh\nsleep 30 &\nwait\n", "`podman ps` said nothing for 2 s"),
    ],
    ids=["fails", "fails without a word", "cannot be started", "hangs", "its child hangs"],
)
def test_an_engine_that_does_not_answer_is_told_and_the_others_are_swept(
    scripts: Scripts, out: Path, script: str, words: str
) -> None:
    scripts.write("podman", script)
    scripts.write("docker", ENGINE, container(out))
    began = time.monotonic()
    swept = sweep.sweep(out, patience=Patience(answer=2))
    assert time.monotonic() - began < 25
    assert swept.silent == (f"podman does not answer, so nothing was ended there: {words}",)
    assert swept.ended == {"docker": 1}
    assert len(swept.lines()) == 2


def test_what_does_not_carry_this_output_s_mark_is_nobody_s_business(
    scripts: Scripts, out: Path
) -> None:
    """An engine may ignore the filter, and say what no engine says."""
    other = out.parent / "other"
    scripts.write(
        "podman",
        ENGINE,
        container(other)
        + f"{ONE}|||\nrubbish\n\n\0\xff\n-rf|{sweep.label(out)}|{HERE}:{GONE}|r1\n",
    )
    scripts.slurm(
        job(other) + f"8|\n9|(null)\nx|cohortflow:{sweep.label(out)}:r1:{HERE}:{GONE}\n"
        f"CLUSTER: one\n5|not cohortflow:{sweep.label(out)}:r1:{HERE}:{GONE}\n"
    )
    assert sweep.sweep(out, ["r1"]).lines() == []
    assert len(scripts.asked("podman").splitlines()) == 1
    assert len(scripts.asked("squeue").splitlines()) == 1


@pytest.mark.parametrize("mark", ["", "nonsense", f"{HERE}:", f"{HERE}:x", f"{HERE}:-1"])
def test_a_mark_that_cannot_be_read_is_told_unless_the_run_is_known_to_be_over(
    scripts: Scripts, out: Path, mark: str
) -> None:
    scripts.write("podman", ENGINE, container(out, engine=mark))
    swept = sweep.sweep(out)
    assert swept.ended == {"podman": 0}
    assert "1 podman container of run r1 left alone" in swept.left[0]
    assert sweep.sweep(out, ["r1"]).ended == {"podman": 1}


def test_a_run_s_name_may_hold_any_sign(scripts: Scripts, out: Path) -> None:
    run = "my run: 1|2"
    scripts.write("podman", ENGINE, container(out, run, "elsewhere:1"))
    scripts.slurm(job(out, run, "elsewhere:1"))
    assert sweep.sweep(out, [run]).ended == {"slurm": 1, "podman": 1}


def test_each_run_that_is_left_alone_is_one_line(scripts: Scripts, out: Path) -> None:
    lines = [container(out, run, "elsewhere:1", str(n) * 64) for n, run in enumerate("aab")]
    scripts.write("podman", ENGINE, "".join(lines))
    assert sweep.sweep(out).lines() == [
        "2 podman containers of run a left alone: whether it is over can be told only on elsewhere",
        "1 podman container of run b left alone: whether it is over can be told only on elsewhere",
    ]


def test_a_process_that_is_hidden_from_us_counts_as_alive(
    scripts: Scripts, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As other users' are where /proc is mounted with hidepid."""

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    scripts.write("docker", ENGINE, container(out))
    assert "left alone" in sweep.sweep(out).left[0]
    assert scripts.there("docker")


STUBBORN = ENGINE.replace("rm) : >there", "rm) exit 1")


def test_what_will_not_end_is_a_failure_after_the_others_were_swept(
    scripts: Scripts, out: Path
) -> None:
    scripts.write("podman", STUBBORN, container(out))
    scripts.write("docker", ENGINE, container(out))
    began = time.monotonic()
    with pytest.raises(Failure) as caught:
        sweep.sweep(out, patience=Patience(end=1))
    assert 1 <= time.monotonic() - began < 10
    assert caught.value.category is Category.TEMPORARY
    assert "1 podman container that an earlier run left will not end" in caught.value.message
    assert f"podman inspect {ONE}" in caught.value.remedy
    assert not scripts.there("docker")


def test_a_job_that_ends_slowly_is_waited_for(scripts: Scripts, out: Path) -> None:
    """Slurm keeps a cancelled job in the queue until its last process has ended."""
    scripts.slurm(job(out))
    queue = scripts.folder / "squeue.d" / "there"
    scripts.write("scancel", f"#!/bin/sh\n(sleep 1; : >{queue}) >/dev/null 2>&1 &\n")
    began = time.monotonic()
    assert sweep.sweep(out, patience=Patience(end=20)).ended == {"slurm": 1}
    assert 1 <= time.monotonic() - began < 10


def test_a_dry_run_ends_nothing(scripts: Scripts, out: Path) -> None:
    scripts.write("podman", ENGINE, container(out))
    assert sweep.sweep(out, dry_run=True).ended == {"podman": 1}
    assert len(scripts.asked("podman").splitlines()) == 1


def tool(root: Path, *words: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, str(root / "bin" / "core-sweep"), *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_tool_says_what_it_ended_and_what_it_left(
    scripts: Scripts, root: Path, out: Path
) -> None:
    left = container(out, "other", "elsewhere:1", TWO)
    scripts.write("podman", ENGINE, container(out) + left)
    said = tool(root, str(out), "--dry-run")
    assert said.stdout == "would have ended 1 podman container that an earlier run left\n"
    assert json.loads(tool(root, str(out), "--dry-run", "--json").stdout)["ended"] == {"podman": 1}
    said = tool(root, str(out), "--only", "podman")
    assert said.stdout == "ended 1 podman container that an earlier run left\n"
    assert "run other left alone" in said.stderr
    assert said.returncode == 0
    scripts.write("podman", ENGINE, left)
    said = tool(root, str(out), "--dead", "other", "--dead", "another")
    assert said.stdout == "ended 1 podman container that an earlier run left\n"
    assert tool(root, str(out)).stdout == "nothing of an earlier run is left\n"


def test_the_tool_works_with_nothing_but_python_as_a_cluster_s_head_has_it(
    scripts: Scripts, root: Path, out: Path
) -> None:
    scripts.slurm(job(out))
    scripts.write("podman", ENGINE, container(out, engine="elsewhere:1"))
    said = tool(root, str(out), python=("-S", "-s"))
    assert said.stdout == "ended 1 slurm job that an earlier run left\n"
    assert "left alone" in said.stderr
    assert said.returncode == 0


@pytest.mark.parametrize("options", [[], ["--only", "slurm"]])
def test_the_tool_fails_with_one_line_when_something_will_not_end(
    scripts: Scripts, root: Path, out: Path, options: list[str], tmp_path: Path
) -> None:
    scripts.slurm(job(out))
    scripts.write("scancel", "#!/bin/sh\nexit 1\n")
    program = tmp_path / "impatient.py"  # 90 s are too long for a test
    program.write_text(
        "import runpy, sys\nfrom cohortflow.core import sweep\n"
        "short = sweep.Patience(end=0.5)\n"
        "for f in (sweep.sweep, sweep.try_sweep):\n"
        "    f.__kwdefaults__['patience'] = short\n"
        "sys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    said = subprocess.run(
        [sys.executable, str(program), str(root / "bin" / "core-sweep"), str(out), *options],
        env={**os.environ, "PYTHONPATH": str(root / "bin")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert said.returncode == 75
    assert said.stderr == (
        "ERROR TEMPORARY - 1 slurm job that an earlier run left will not end, and may still write: "
        "see `squeue --jobs=7`, and run again when none is left\n"
    )
