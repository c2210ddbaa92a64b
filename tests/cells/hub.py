"""A Hugging Face hub on this machine, over HTTP, for the tests of what talks to one.

It answers what huggingface_hub and datasets ask of a hub for dataset repositories, with Git LFS
and without Xet. It holds everything in memory, records every request, and can be told to fail,
to stall or to be full. A test that is through with it leaves nothing behind.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

MISSING = object()
Headers = dict[str, str]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass(frozen=True)
class File:
    """A file of a commit; a large one is known by its SHA-256 and kept with the repository."""

    content: bytes
    large: bool

    def entry(self, path: str) -> dict[str, Any]:
        """Describe it as the hub's tree does."""
        about = {"type": "file", "path": path, "size": len(self.content)}
        if not self.large:
            return {**about, "oid": git_blob(self.content)}
        lfs = {"oid": sha256(self.content), "size": len(self.content), "pointerSize": 133}
        return {**about, "oid": git_blob(b"pointer " + lfs["oid"].encode()), "lfs": lfs}


@dataclass
class Repo:
    private: bool = True
    commits: list[tuple[str, dict[str, File]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, File]:
        return self.commits[-1][1]

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def commit(self, files: dict[str, File], message: str) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {message} {sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, files))
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, File]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    status: int

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Fault:
    """What happens to requests that a pattern (of ``METHOD /path``) finds, so many times."""

    pattern: str
    status: int = 0  # 0: the connection ends without an answer
    body: Any = ""
    headers: Headers = field(default_factory=dict)
    times: int = 10**6
    skip: int = 0  # so many such requests go well before
    half: bool = False  # the connection ends in the middle of the request's body


@dataclass
class Stall:
    """A request that the hub reads half of, and lets go when `released`, or after 30 seconds."""

    pattern: str
    skip: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass
class Hub:
    url: str = ""
    tokens: dict[str, bool] = field(default_factory=dict)  # token: may it write
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    quota: int | None = None
    page: int = 1000
    lock: threading.RLock = field(default_factory=threading.RLock)
    stored: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.stored = threading.Condition(self.lock)

    def add_repo(self, repo_id: str, private: bool = True, **files: bytes) -> Repo:
        """Make a repository as the hub does: with a first commit that holds .gitattributes."""
        repo = Repo(private)
        first = {".gitattributes": File(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n", False)}
        repo.commit(first, "initial commit")
        self.repos[repo_id] = repo
        return repo

    def add_files(self, repo_id: str, files: dict[str, bytes]) -> None:
        """Commit files of somebody else."""
        repo = self.repos[repo_id]
        new = {path: File(content, path.endswith(".parquet")) for path, content in files.items()}
        repo.objects.update({sha256(f.content): f.content for f in new.values() if f.large})
        repo.commit(repo.files | new, "by hand")

    def calls(self, pattern: str) -> list[Request]:
        """Return the requests so far that a pattern (of ``METHOD /path``) finds."""
        with self.lock:
            return [request for request in self.requests if re.search(pattern, request.call)]

    def sent(self) -> list[str]:
        """Return the checksums of the large files that came in whole, in the order of arrival."""
        whole = [request for request in self.calls("^PUT /lfs/") if request.status == 200]
        return [sha256(request.body) for request in whole]

    def wait_for_objects(self, repo_id: str, count: int) -> None:
        """Wait until a repository keeps so many large files."""
        with self.stored:
            repo = self.repos.get(repo_id)
            ready = self.stored.wait_for(lambda: repo and len(repo.objects) >= count, timeout=60)
            assert ready, "the large files never came"


class Answer(Exception):
    """Leaves a handler with a status, a body and headers."""

    def __init__(self, status: int, body: Any = MISSING, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"error": f"status {status}"} if body is MISSING else body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextmanager
def serve(token: str = "hf_accepted", *, writes: bool = True) -> Iterator[Hub]:
    """Run a hub on a free port of 127.0.0.1 that knows one token."""
    hub = Hub(tokens={token: writes})

    class Bound(Handler):
        pass

    Bound.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        for stall in hub.stalls:
            stall.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


_NAME = r"(?P<repo>[^/]+/[^/]+?)"
_ROUTES: list[tuple[str, str]] = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"GET /api/datasets/{_NAME}(/revision/(?P<revision>[^/]+))?", "info"),
    (rf"GET /api/datasets/{_NAME}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
    (rf"POST /api/datasets/{_NAME}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    (rf"POST /api/datasets/{_NAME}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"POST /api/datasets/{_NAME}/commit/(?P<revision>[^/]+)", "commit"),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (rf"PUT /lfs/{_NAME}/(?P<oid>\w{{64}})", "put"),
    (rf"POST /lfs/{_NAME}/verify", "verify"),
    (rf"(GET|HEAD) /datasets/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]


class Handler(BaseHTTPRequestHandler):
    """One connection; the answers are the methods that `_ROUTES` names."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _any(self) -> None:
        self.split = urlsplit(self.path)
        self.call = f"{self.command} {self.split.path}"
        self.body = b""
        try:
            self._meet_faults()
            self.body = self._read(int(self.headers.get("Content-Length", 0)))
            answer = self._routed()
        except Answer as raised:
            answer = raised
        except (ConnectionError, TimeoutError):
            self._record(0)
            self.close_connection = True
            return
        self._record(answer.status)
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = _any

    def _read(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise ConnectionError("the client went away")
        return content

    def _record(self, status: int) -> None:
        with self.hub.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.hub.requests.append(
                Request(self.command, self.split.path, self.split.query, headers, self.body, status)
            )

    def _meet_faults(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        with self.hub.lock:
            stall = next((s for s in self.hub.stalls if self._meets(s)), None)
            fault = next((f for f in self.hub.faults if self._meets(f) and f.times > 0), None)
            if stall:
                self.hub.stalls.remove(stall)
            if fault:
                fault.times -= 1
        if stall:
            self.body = self._read(size // 2)
            stall.reached.set()
            stall.released.wait(30)
            raise ConnectionError("stalled")
        if fault and (fault.half or not fault.status):
            self.body = self._read(size // 2 if fault.half else size)
            raise ConnectionError("cut")
        if fault:
            self.body = self._read(size)
            raise Answer(fault.status, fault.body, **fault.headers)

    def _meets(self, trouble: Fault | Stall) -> bool:
        if not re.search(trouble.pattern, self.call):
            return False
        trouble.skip -= 1
        return trouble.skip < 0

    def _routed(self) -> Answer:
        for pattern, name in _ROUTES:
            match = re.fullmatch(pattern, self.call)
            if match:
                known = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
                with self.hub.lock:
                    return getattr(self, name)(**known)
        return Answer(404, {"error": f"no such page: {self.call}"})

    def _send(self, answer: Answer) -> None:
        content, kind = answer.body, "application/octet-stream"
        if not isinstance(content, bytes):
            text = content if isinstance(content, str) else json.dumps(content)
            content, kind = text.encode(), "text/plain" if text is content else "application/json"
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, **answer.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # what a request may do

    def _token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        if token not in self.hub.tokens:
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        return token

    def _writer(self) -> None:
        token = self._token()
        if token is None:
            raise Answer(401, {"error": "Invalid username or password."})
        if not self.hub.tokens[token]:
            raise Answer(403, {"error": "You don't have the rights to write to this namespace"})

    def _repo(self, repo: str) -> Repo:
        token = self._token()
        found = self.hub.repos.get(repo)
        if found is None or (found.private and token is None):
            status = 404 if token else 401
            raise Answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return found

    def _at(self, repo: Repo, revision: str) -> tuple[str, dict[str, File]]:
        commit = repo.at(revision)
        if commit is None:
            raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return commit

    def _room(self, repo: Repo, more: int) -> None:
        kept = sum(len(o) for r in self.hub.repos.values() for o in r.objects.values())
        if self.hub.quota is not None and kept + more > self.hub.quota:
            reason = "Private repository storage limit reached, please upgrade your plan"
            raise Answer(403, {"error": reason})

    # the answers

    def whoami(self) -> Answer:
        if self._token() is None:
            return Answer(401, {"error": "Invalid username or password."})
        return Answer(200, {"type": "user", "name": "somebody", "orgs": [{"name": "lab"}]})

    def create(self) -> Answer:
        self._writer()
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'somebody'}/{asked['name']}"
        url = f"{self.hub.url}/datasets/{repo_id}"
        if repo_id in self.hub.repos:
            return Answer(409, {"error": "You already created this dataset repo", "url": url})
        self.hub.add_repo(repo_id, private=asked.get("visibility") == "private")
        return Answer(200, {"url": url, "id": repo_id})

    def validate(self) -> Answer:
        content = json.loads(self.body)["content"]
        if "\t" in content.partition("\n---")[0]:
            return Answer(400, {"errors": [{"message": "tabs are no YAML"}], "warnings": []})
        return Answer(200, {"errors": [], "warnings": []})

    def info(self, repo: str, revision: str = "main") -> Answer:
        found = self._repo(repo)
        oid, files = self._at(found, revision)
        siblings = []
        for path, file in sorted(files.items()):
            entry = file.entry(path)
            siblings.append({"rfilename": path, "size": entry["size"], "blobId": entry["oid"]})
        about = {"id": repo, "sha": oid, "private": found.private, "siblings": siblings}
        return Answer(200, {**about, "author": "lab", "tags": [], "gated": False})

    def tree(self, repo: str, revision: str, path: str = "") -> Answer:
        _, files = self._at(self._repo(repo), revision)
        query = parse_qs(self.split.query)
        deep = query.get("recursive", ["false"])[0].lower() in {"true", "1"}
        entries = list(self._entries(files, path, deep))
        if path and not entries:
            return Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        start = int(query.get("cursor", ["0"])[0])
        shown = entries[start : start + self.hub.page]
        if start + self.hub.page >= len(entries):
            return Answer(200, shown)
        rest = f"recursive={deep}&cursor={start + self.hub.page}"
        link = f'<{self.hub.url}{quote(self.split.path)}?{rest}>; rel="next"'
        return Answer(200, shown, Link=link)

    def _entries(self, files: dict[str, File], folder: str, deep: bool) -> Iterator[dict[str, Any]]:
        begin = f"{folder}/" if folder else ""
        seen: set[str] = set()
        for path, file in sorted(files.items()):
            if not path.startswith(begin):
                continue
            parents = path[len(begin) :].split("/")[:-1]
            for depth in range(len(parents) if deep else min(len(parents), 1)):
                parent = begin + "/".join(parents[: depth + 1])
                if parent not in seen:
                    seen.add(parent)
                    yield {"type": "directory", "path": parent, "oid": git_blob(parent.encode())}
            if deep or not parents:
                yield file.entry(path)

    def paths_info(self, repo: str, revision: str) -> Answer:
        _, files = self._at(self._repo(repo), revision)
        folders = {e["path"]: e for e in self._entries(files, "", True) if e["type"] != "file"}
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        found = [files[p].entry(p) if p in files else folders.get(p) for p in paths]
        return Answer(200, [entry for entry in found if entry])

    def preupload(self, repo: str, revision: str) -> Answer:
        self._writer()
        _, files = self._at(self._repo(repo), revision)
        modes = []
        for asked in json.loads(self.body)["files"]:
            file = files.get(asked["path"])
            oid = None
            if file:
                oid = sha256(file.content) if file.large else git_blob(file.content)
            mode = "lfs" if asked["path"].endswith(".parquet") else "regular"
            modes.append(
                {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            )
        return Answer(200, {"files": modes})

    def batch(self, repo: str) -> Answer:
        self._writer()
        found = self._repo(repo)
        asked = json.loads(self.body)
        assert asked["operation"] == "upload" and asked["hash_algo"] == "sha256"
        missing = [each for each in asked["objects"] if each["oid"] not in found.objects]
        self._room(found, sum(each["size"] for each in missing))
        objects = []
        for each in asked["objects"]:
            about = {"oid": each["oid"], "size": each["size"]}
            if each in missing:
                place = f"{self.hub.url}/lfs/{repo}"
                # A signed address, as storage behind a hub has: it works without the token.
                signed = f"{place}/{each['oid']}?size={each['size']}&signature={_sign(each['oid'])}"
                actions = {"upload": {"href": signed}, "verify": {"href": f"{place}/verify"}}
                about["actions"] = actions
            objects.append(about)
        return Answer(200, {"transfer": "basic", "objects": objects})

    def put(self, repo: str, oid: str) -> Answer:
        query = parse_qs(self.split.query)
        if query.get("signature") != [_sign(oid)]:
            return Answer(403, "<Error><Code>AccessDenied</Code></Error>")
        if "Authorization" in self.headers:
            return Answer(400, "<Error>the token went to the storage</Error>")
        if sha256(self.body) != oid or query["size"] != [str(len(self.body))]:
            return Answer(400, "<Error><Code>BadDigest</Code></Error>")
        self.hub.repos[repo].objects[oid] = self.body
        self.hub.stored.notify_all()
        return Answer(200, b"")

    def verify(self, repo: str) -> Answer:
        self._writer()
        asked = json.loads(self.body)
        kept = self._repo(repo).objects.get(asked["oid"])
        return Answer(200 if kept is not None and len(kept) == asked["size"] else 404, {})

    def commit(self, repo: str, revision: str) -> Answer:
        self._writer()
        found = self._repo(repo)
        self._at(found, revision)
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        assert header["key"] == "header"
        if header["value"].get("parentCommit", found.head) != found.head:
            return Answer(412, {"error": "A commit has happened since"})
        files = dict(found.files)
        for operation in operations:
            self._apply(found, files, operation["key"], operation["value"])
        oid = found.commit(files, header["value"]["summary"])
        url = f"{self.hub.url}/datasets/{repo}/commit/{oid}"
        return Answer(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def _apply(self, repo: Repo, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "deletedFile":
            if path not in files:
                raise Answer(404, {"error": "A file with this name doesn't exist"})
            del files[path]
        elif key == "file":
            files[path] = File(base64.b64decode(value["content"], validate=True), False)
        elif key == "lfsFile":
            content = repo.objects.get(value["oid"])
            if content is None or len(content) != value["size"]:
                raise Answer(400, {"error": f"{path}: the LFS object does not exist"})
            files[path] = File(content, True)
        else:
            raise Answer(400, {"error": f"unknown operation {key}"})

    def resolve(self, repo: str, revision: str, path: str) -> Answer:
        oid, files = self._at(self._repo(repo), revision)
        file = files.get(path)
        if file is None:
            return Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        entry = file.entry(path)
        etag = f'"{entry["lfs"]["oid"] if file.large else entry["oid"]}"'
        size = str(len(file.content))
        headers = {"X_Repo_Commit": oid, "ETag": etag, "Accept_Ranges": "bytes"}
        if file.large:
            headers |= {"X_Linked_Etag": etag, "X_Linked_Size": size}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not part:
            return Answer(200, file.content, Content_Length=size, **headers)
        start, stop = int(part[1]), min(int(part[2] or size), len(file.content) - 1)
        content = file.content[start : stop + 1]
        return Answer(206, content, Content_Range=f"bytes {start}-{stop}/{size}", **headers)


def _sign(oid: str) -> str:
    return sha256(b"the storage's secret " + oid.encode())[:16]
