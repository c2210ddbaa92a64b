"""A PostgreSQL server of the tests' own: one folder, one port, one password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

PASSWORD = "p%40ss/w0rd"  # as it stands in a URL
PLAIN = "p@ss/w0rd"


def programs() -> Path | None:
    """Return the folder of the newest `initdb` of Debian's, or of the one on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """Starts, stops and kills one server; as nobody when the tests are root's."""

    def __init__(self, bin_folder: Path) -> None:
        self.bin = bin_folder
        self.folder = Path(tempfile.mkdtemp(prefix="cf-pg-"))
        self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if os.getuid() == 0:
            os.chown(self.folder, 65534, 65534)
        else:
            self.user = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        secret = self.folder / "password"
        secret.write_text(PLAIN + "\n")
        secret.chmod(0o644)
        self._do("initdb", "-D", self._data, "-U", "tester", "-A", "scram-sha-256", "-E", "UTF8",
                 "--locale=C.UTF-8", "--no-sync", f"--pwfile={secret}")  # fmt: skip
        secret.unlink()
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.user, str(self.bin / program), *arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories= -F"
        log = str(self.folder / "log")
        self._do("pg_ctl", "-D", self._data, "-l", log, "-w", "-s", "-o", options, "start")

    def kill(self) -> None:
        """End it as a crash does: nothing is written, every connection is cut."""
        self._do("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "-s", "stop")

    def close(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
