"""What this machine has and lacks for a run: programs, packages, memory, disk, network settings.

Nothing here changes the machine. What is looked at comes in as a :class:`Machine`, so that the same
functions judge a machine that a test made up.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table
from rich.text import Text

from cohortflow.core import images
from cohortflow.core.needs import ENGINES, LANES, SETUP, Need
from cohortflow.core.outcome import Failure

Status = Literal["ok", "missing", "optional"]

GIB = 1024**3


@dataclass(frozen=True)
class Machine:
    """The machine as the doctor sees it.

    Attributes
    ----------
    prefix : Path
        Root of the Python environment; its ``bin`` comes before PATH.
    environ : Mapping of str to str
        Environment variables.
    folder : Path
        Where results will be written; its file system's free space is shown.
    image_prefix : str
        What the names of images begin with, as ``--image_prefix`` of a run.
    image_folder : Path, optional
        Folder of Charliecloud's and Apptainer's images, as ``--image_folder`` of a run.
    """

    prefix: Path
    environ: Mapping[str, str]
    folder: Path
    image_prefix: str = images.PREFIX
    image_folder: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes
    ----------
    name : str
        What was looked for.
    status : {"ok", "missing", "optional"}
        ``missing`` stops a run; ``optional`` is absent or scarce, and a run works without it.
    version : str
        Version or amount found, or an empty string.
    where : str
        Path it was found at, or an empty string.
    remedy : str
        What to do about it; empty when it is ok.
    needed_by : str
        Lane or engine that uses it.
    """

    name: str
    status: Status
    version: str
    where: str
    remedy: str
    needed_by: str


def this_machine(
    folder: Path | None = None,
    image_prefix: str = images.PREFIX,
    image_folder: Path | None = None,
) -> Machine:
    """Describe the machine that this process runs on.

    Parameters
    ----------
    folder : Path, optional
        Where results will be written; the current folder when left out.
    image_prefix : str
        What the names of images begin with.
    image_folder : Path, optional
        Folder of images; that of the checkout when left out.
    """
    here = folder or Path.cwd()
    return Machine(Path(sys.prefix), dict(os.environ), here, image_prefix, image_folder)


def findings(machine: Machine | None = None) -> list[Finding]:
    """Look at everything that a run of any lane or engine may use.

    Parameters
    ----------
    machine : Machine, optional
        This machine when left out.

    Returns
    -------
    list of Finding
        In the order to show them: the base, each lane, each engine, the machine.
    """
    machine = machine or this_machine()
    found = [python(), package(), java(machine), nextflow(machine)]
    for user, needs in (LANES | ENGINES).items():
        found += [check(need, user, machine) for need in needs]
        if user == "containers":
            found += lane_images(found, machine)
    return [*found, free_memory(), free_disk(machine.folder), network(machine.environ)]


def healthy(found: list[Finding]) -> bool:
    """Tell whether nothing that a run needs is missing."""
    return all(finding.status != "missing" for finding in found)


def python() -> Finding:
    """Report the Python that runs this."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok", version, sys.executable, "", "everything")


def package() -> Finding:
    """Report this package, and the folder that its code comes from."""
    from cohortflow import __file__ as origin
    from cohortflow import __version__

    return Finding("cohortflow", "ok", __version__, str(Path(origin).parent), "", "everything")


def check(need: Need, user: str, machine: Machine) -> Finding:
    """Look for one package or program.

    Parameters
    ----------
    need : Need
        What to look for.
    user : str
        Lane or engine that uses it.
    machine : Machine
        Where to look.
    """
    if need.kind == "package":
        where, version = _package(need)
    else:
        where, version = _program(need.target, machine)
    absent: Status = "missing" if need.required else "optional"
    if not where:
        return Finding(need.name, absent, "", "", need.remedy, user)
    if need.answers and (complaint := _complaint([where, *need.answers], machine)):
        remedy = f"{where} is of no use here ({complaint}): repair it, or use another profile"
        return Finding(need.name, absent, version, where, remedy, user)
    return Finding(need.name, "ok", version, where, "", user)


def lane_images(found: list[Finding], machine: Machine) -> list[Finding]:
    """Report each lane's image for every container runtime that is there.

    Parameters
    ----------
    found : list of Finding
        What is known of the runtimes.
    machine : Machine
        Where to look.
    """
    ready = {finding.name.lower(): finding.name for finding in found if finding.status == "ok"}
    try:
        return [
            lane_image(runtime, ready[runtime], lane, machine)
            for runtime in images.RUNTIMES
            if runtime in ready
            for lane in images.lanes()
        ]
    except Failure as failure:
        remedy = f"{failure.message}: {failure.remedy}"
        return [Finding("images", "optional", "", "", remedy, "containers")]


def lane_image(runtime: images.Runtime, title: str, lane: str, machine: Machine) -> Finding:
    """Report the image that a run of a lane would use, and whether it is there."""
    name, tag = f"{lane} image, {title}", images.tag(lane)
    image = images.reference(runtime, lane, machine.image_prefix, machine.image_folder)
    if images.present(runtime, image, _environ(machine)):
        return Finding(name, "ok", tag, image, "", "containers")
    remedy = f"{image} is not here: {images.remedy(runtime)}"
    return Finding(name, "optional", tag, "", remedy, "containers")


def java(machine: Machine) -> Finding:
    """Report the Java that Nextflow will use, which must be 17 to 23."""
    homes = [machine.environ.get("NXF_JAVA_HOME"), str(machine.prefix / "opt" / "java")]
    homes += [machine.environ.get("JAVA_HOME")]
    candidates = [str(Path(home) / "bin" / "java") for home in homes if home]
    candidates += [shutil.which("java", path=search_path(machine)) or ""]
    refused = ""
    for candidate in candidates:
        if not candidate or not os.access(candidate, os.X_OK):
            continue
        version = _version_of([candidate, "-version"], machine)
        if re.match(r"(1[789]|2[0123])\b", version):
            return Finding("Java", "ok", version, candidate, "", "Nextflow")
        refused = refused or f"; {candidate} is {version or 'of unknown version'}"
    remedy = f"install Java 17 to 23, or {SETUP}{refused}"
    return Finding("Java", "missing", "", "", remedy, "Nextflow")


def nextflow(machine: Machine) -> Finding:
    """Report Nextflow by starting it once; it must be 24.10 or newer."""
    where = shutil.which("nextflow", path=search_path(machine))
    if not where:
        return Finding("Nextflow", "missing", "", "", SETUP, "every lane")
    version = _version_of([where, "-version"], machine)
    if _at_least(version, (24, 10)):
        return Finding("Nextflow", "ok", version, where, "", "every lane")
    state = f"is {version}, older than 24.10" if version else "does not start"
    return Finding("Nextflow", "missing", version, where, f"{where} {state}: {SETUP}", "every lane")


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Report the memory that is free, and how many cores there are to share it.

    Parameters
    ----------
    meminfo : Path
        The kernel's table, in kB; without one (macOS) the memory is unknown.
    """
    name, cores = "memory", os.cpu_count() or 1
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text(meminfo))
    if not match:
        return Finding(name, "optional", f"{cores} cores", "", "amount unknown here", "the machine")
    gib = int(match[1]) * 1024 / GIB
    return _amount(name, gib, 2, f"{gib:.1f} GiB free, {cores} cores", "")


def free_disk(folder: Path) -> Finding:
    """Report the free space of the file system that holds a folder (or its nearest parent)."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    gib = shutil.disk_usage(existing).free / GIB
    return _amount("disk", gib, 5, f"{gib:.1f} GiB free", str(existing))


def network(environ: Mapping[str, str]) -> Finding:
    """Report which proxy and certificate settings there are; only set-up uses the network.

    Values are not shown: a proxy's address may hold a password.
    """
    known = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PIP_CERT", "SSL_CERT_FILE")
    names = [name for name in known if environ.get(name) or environ.get(name.lower())]
    for name in ("PIP_CERT", "SSL_CERT_FILE"):
        if environ.get(name) and not Path(environ[name]).is_file():
            remedy = f"{name} names a file that is not there: correct it before `make setup`"
            return Finding("network settings", "optional", ", ".join(names), "", remedy, "set-up")
    return Finding("network settings", "ok", ", ".join(names) or "direct", "", "", "set-up")


def table(found: list[Finding]) -> Table:
    """Lay findings out for a terminal; words say what the colours say."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "what", "version"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("where, or remedy", overflow="fold")
    styles = {"ok": "green", "missing": "bold red", "optional": "yellow"}
    user = ""
    for finding in found:
        if finding.needed_by != user:
            user = finding.needed_by
            shown.add_row("", Text(f"for {user}", "dim"))
        shown.add_row(
            Text(finding.status, styles[finding.status]),
            Text(finding.name),
            Text(finding.version),
            Text(finding.remedy or _place(finding.where)),
        )
    return shown


def _place(where: str) -> str:
    """Return a path as a table shows it: those of this environment are long and say little."""
    return "this environment" if where.startswith(f"{sys.prefix}{os.sep}") else where


def search_path(machine: Machine) -> str:
    """Return the PATH that steps are searched on: the environment's own ``bin`` first."""
    return os.pathsep.join([str(machine.prefix / "bin"), machine.environ.get("PATH", "")])


def _package(need: Need) -> tuple[str, str]:
    spec = importlib.util.find_spec(need.target)
    if spec is None:
        return "", ""
    try:
        version = importlib.metadata.version(need.distribution or need.target)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return str(Path(spec.origin).parent if spec.origin else need.target), version


def _program(target: str, machine: Machine) -> tuple[str, str]:
    where = shutil.which(target, path=search_path(machine))
    return (where, _version_of([where, "--version"], machine)) if where else ("", "")


def _version_of(command: list[str], machine: Machine) -> str:
    """Return the first number with a dot that a command prints, or nothing."""
    match = re.search(r"\d+(?:\.\d+)+", _output(command, machine)[1])
    return match[0] if match else ""


def _complaint(command: list[str], machine: Machine) -> str:
    """Return the last line of a command that fails, or nothing."""
    status, text = _output(command, machine)
    return ([line for line in text.splitlines() if line] or ["it fails"])[-1] if status else ""


def _output(command: list[str], machine: Machine) -> tuple[int, str]:
    """Return the exit status of a command, and what it printed."""
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env=_environ(machine),
            errors="replace",
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
        )
    except OSError as error:
        return 1, str(error)
    except subprocess.TimeoutExpired:
        return 1, "no answer within a minute"
    return result.returncode, result.stdout + result.stderr


def _environ(machine: Machine) -> dict[str, str]:
    return {**machine.environ, "PATH": search_path(machine)}


def _at_least(version: str, least: tuple[int, ...]) -> bool:
    return tuple(int(part) for part in version.split(".") if part) >= least


def _amount(name: str, gib: float, least: float, version: str, where: str) -> Finding:
    remedy = "" if gib >= least else f"less than {least:g} GiB: a study may not fit"
    return Finding(name, "optional" if remedy else "ok", version, where, remedy, "the machine")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
