"""A Slurm cluster of virtual nodes on this machine: its own folder, ports, key and daemons.

>>> with cluster(tmp_path / "slurm", nodes=2) as slurm:  # doctest: +SKIP
...     subprocess.run(["sbatch", "--wrap", "true"], env={**os.environ, **slurm.environment})
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = {
    "munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm",
    "unshare": "util-linux",
}  # fmt: skip
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PATIENCE = 30.0
# Below the ports that the kernel gives to outgoing connections: nobody takes one by chance.
PORTS = range(20000, 32000)
# On this node the mount namespace is its own, and an empty folder hides the one that is named.
HIDE = 'mount -t tmpfs -o size=1m none "$1" && shift && exec "$@"'


class CannotStartError(RuntimeError):
    """No cluster on this machine; the message says why."""


@dataclass(frozen=True)
class Job:
    """A line of squeue: what waits or runs, and what ended moments ago."""

    id: str
    state: str
    name: str
    node: str
    reason: str
    comment: str


def missing() -> str | None:
    """Say what this machine lacks for a cluster, if anything."""
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=SYSTEM_PATH) is None:
            return f"no {program}: apt-get install {package}"
    return "Slurm's daemons need root: run these tests as root" if os.getuid() else None


@contextmanager
def cluster(
    folder: Path,
    *,
    nodes: int = 2,
    cpus: int = 4,
    memory: int = 4000,
    partitions: Mapping[str, str] | None = None,
    max_memory: int | None = None,
    max_time: str = "INFINITE",
    submit_limit: int | None = None,
    unshared: Mapping[str, Path] | None = None,
    settings: Mapping[str, str | int] | None = None,
) -> Iterator[Cluster]:
    """Start a cluster, give it when all nodes are idle, and end all that was started for it.

    Parameters
    ----------
    folder : Path
        Made when it is not there; holds the configuration, state and logs, and is kept.
    nodes : int
        Virtual nodes ``n1``, ``n2``, … of this machine.
    cpus : int
        CPUs that each node claims to have, whatever the machine has.
    memory : int
        Megabytes that each node claims to have.
    partitions : mapping of str to str, optional
        Further partitions beside ``main``: name, and the rest of the line, as ``Nodes=n2``.
    max_memory : int, optional
        MaxMemPerNode in megabytes: sbatch refuses what asks for more.
    max_time : str
        MaxTime of the partition ``main``.
    submit_limit : int, optional
        Jobs of a user that sbatch accepts in an hour; it refuses the next one with the words of an
        accounting policy, as on a site with MaxSubmitJobs.
    unshared : mapping of str to Path, optional
        Nodes that see an empty folder in place of the one that is named.
    settings : mapping, optional
        Further lines of slurm.conf, or other values for those that are there.

    Raises
    ------
    CannotStartError
        A program, root's rights or a daemon is missing.
    """
    lacks = missing()
    if lacks is not None:
        raise CannotStartError(lacks)
    made = Cluster(folder.resolve(), nodes, dict(unshared or {}))
    made.check_unshared()
    with ExitStack() as stack:
        # A socket's path holds 107 bytes at most, a test's folder may be longer.
        run = Path(tempfile.mkdtemp(prefix="cf-slurm-"))
        run.chmod(0o711)  # other users' jobs and commands, too
        ports = free_ports(1 + nodes)
        made.prepare(
            configuration(
                made.folder, run, ports, cpus, memory,
                partitions={"main": f"Nodes=ALL Default=YES MaxTime={max_time}",
                            **(partitions or {})},
                settings={**limits(max_memory, submit_limit), **(settings or {})},
            )
        )  # fmt: skip
        stack.callback(made.stop)
        made.start(run)
        yield made


def limits(max_memory: int | None, submit_limit: int | None) -> dict[str, str | int]:
    """Return the lines that make sbatch refuse."""
    lines: dict[str, str | int] = {}
    if max_memory is not None:
        lines["MaxMemPerNode"] = max_memory
    if submit_limit is not None:
        lines["JobSubmitPlugins"] = "throttle"
        lines["SchedulerParameters"] = f"{SCHEDULER},jobs_per_user_per_hour={submit_limit}"
    return lines


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise CannotStartError("no free port from 20000 to 31999")


SCHEDULER = "sched_interval=1,sched_min_interval=20000,batch_sched_delay=0,bf_interval=30"


def configuration(
    folder: Path,
    run: Path,
    ports: Sequence[int],
    cpus: int,
    memory: int,
    partitions: Mapping[str, str],
    settings: Mapping[str, str | int],
) -> str:
    """Return the text of slurm.conf."""
    host = socket.gethostname().split(".")[0]
    lines: dict[str, str | int | Path] = {
        "ClusterName": "tests",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports[0],
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={run}/munge.sock",
        "CryptoType": "crypto/munge",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool-%n",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd-%n.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd-%n.log",
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": 5,
        "JobAcctGatherParams": "OverMemoryKill",
        "AccountingStorageType": "accounting_storage/none",
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": folder / "jobcomp.txt",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "DefMemPerCPU": 500,
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": SCHEDULER,
        "ReturnToService": 2,
        "KillWait": 5,
        "MaxArraySize": 1001,
        "SlurmdParameters": "config_overrides",
        "EnforcePartLimits": "ALL",
        **settings,
    }
    text = [f"{name}={value}" for name, value in lines.items()]
    text += [
        f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        f"RealMemory={memory} State=UNKNOWN"
        for number, port in enumerate(ports[1:], start=1)
    ]
    text += [f"PartitionName={name} State=UP {rest}" for name, rest in partitions.items()]
    return "\n".join(text) + "\n"


@dataclass
class Cluster:
    """A running cluster; give ``environment`` to every child that is to see it."""

    folder: Path
    nodes: int
    unshared: Mapping[str, Path]
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ender: subprocess.Popen[bytes] | None = None

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs beside its own environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def check_unshared(self) -> None:
        for name, hidden in self.unshared.items():
            if name not in self.names:
                raise ValueError(f"no node {name}: use {', '.join(self.names)}")
            if self.folder.is_relative_to(hidden.resolve()):
                raise ValueError(f"{hidden} holds the cluster's own folder: choose another")

    def prepare(self, text: str) -> None:
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(text)

    def start(self, run: Path) -> None:
        """Start all daemons, and wait until every node is idle."""
        ender = Path(__file__).with_name("ending.py")
        self._ender = subprocess.Popen(
            [sys.executable, str(ender), self.environment["SLURM_CONF"], str(run)],
            stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._start_munge(run)
        self.start_controller()
        for name in self.names:
            self.start_node(name)
        self._wait("every node idle", self.idle)

    def _start_munge(self, run: Path) -> None:
        key = run / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        places = {"key": key, "socket": run / "munge.sock", "pid": run / "munge.pid",
                  "log": self.folder / "munge.log", "seed": run / "munge.seed"}  # fmt: skip
        options = [f"--{'socket' if k == 'socket' else f'{k}-file'}={v}" for k, v in places.items()]
        self._daemon("munged", "munged", "--foreground", "--force", *options)
        self._wait("munge's socket", (run / "munge.sock").exists)

    def start_controller(self) -> None:
        """Start slurmctld, with what it knew when it ended, and wait until it answers."""
        self._daemon("slurmctld", "slurmctld", "-D")
        self._wait("slurmctld", self.answers)

    def stop_controller(self) -> None:
        """End slurmctld as a service is stopped: it writes down what it knows; jobs run on."""
        self._end("slurmctld", signal.SIGTERM)

    def kill_controller(self) -> None:
        """End slurmctld as a crash does; of the last five seconds it may have written nothing."""
        self._end("slurmctld", signal.SIGKILL)

    def restart_controller(self, pause: float = 0, *, crash: bool = False) -> None:
        """End slurmctld, and start it again after some seconds."""
        self.kill_controller() if crash else self.stop_controller()
        time.sleep(pause)
        self.start_controller()

    def wait_until_written(self) -> None:
        """Wait until slurmctld wrote the jobs down that it has now, so that a crash keeps them."""
        state, now = self.folder / "state" / "job_state", time.time()
        self._wait("the jobs' state", lambda: state.exists() and state.stat().st_mtime > now)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        command = ["slurmd", "-D", "-N", name]
        if name in self.unshared:
            command = ["unshare", "--mount", "sh", "-c", HIDE, "sh",
                       str(self.unshared[name]), *command]  # fmt: skip
        self._daemon(name, *command)

    def kill_node(self, name: str) -> None:
        """End the slurmd of a node as a crash does."""
        self._end(name, signal.SIGKILL)

    def stop(self) -> None:
        """End the daemons, the jobs, and every command that was given this cluster."""
        if self._ender is None:
            return
        self._ender.communicate()
        for daemon in self._daemons.values():
            daemon.wait()
        self._ender = None

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's commands; the caller judges its status and words."""
        return subprocess.run(
            words, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def scontrol(self, *words: str) -> str:
        """Run scontrol and return what it printed."""
        done = self.command("scontrol", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def jobs(self) -> list[Job]:
        """Return what waits and runs now, an array's tasks each for itself."""
        done = self.command("squeue", "--noheader", "--array", "--format=%i|%T|%j|%N|%r|%k")
        assert done.returncode == 0, done.stderr
        return [Job(*line.split("|", 5)) for line in done.stdout.splitlines()]

    def idle(self) -> bool:
        """Tell whether every node is there and none runs a job."""
        done = self.command("sinfo", "--noheader", "--Node", "--format=%N %T")
        found = {tuple(line.split()) for line in done.stdout.splitlines()}
        return found == {(name, "idle") for name in self.names}

    def answers(self) -> bool:
        """Tell whether slurmctld answers."""
        return " UP" in self.command("scontrol", "ping").stdout

    def wait_until_empty(self, patience: float = PATIENCE) -> None:
        """Wait until no job waits or runs, and every node is idle."""
        self._wait("the last job's end", lambda: not self.jobs() and self.idle(), patience)

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **self.environment, "PATH": SYSTEM_PATH},
                start_new_session=True,
            )  # fmt: skip

    def _end(self, name: str, how: signal.Signals) -> None:
        self._daemons[name].send_signal(how)
        self._daemons.pop(name).wait(PATIENCE)

    def _wait(self, what: str, there: Callable[[], bool], patience: float = PATIENCE) -> None:
        until = time.monotonic() + patience
        while not there():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > until:
                why = f"{ended[0]} ended" if ended else f"not there after {patience:.0f} s"
                raise CannotStartError(f"waiting for {what}: {why}\n{self._last_words()}")
            time.sleep(0.05)

    def _last_words(self) -> str:
        said = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"{path.name}: {path.read_text()[-600:]}" for path in sorted(said))
