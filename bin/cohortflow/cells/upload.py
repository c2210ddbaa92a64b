"""Send a dataset to a repository of a Hugging Face hub: in one commit, and only what is not there.

Large files are sent first, by Git LFS: a file that the hub has is not sent again, so a run that
was killed goes on where it was. Then one commit adds them, with the small files, and removes what
the dataset no longer has. A reader of the repository sees the old dataset or the new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cohortflow import __version__
from cohortflow.cells import hub_client, upload_files
from cohortflow.cells.upload_files import File
from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

SENDERS = 4
"""Files sent at a time. Their addresses are asked for just before: they expire in minutes."""
LONGEST_NAME = 96

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_KIND = "dataset"


@dataclass(frozen=True)
class Target:
    """Where a dataset goes.

    Attributes
    ----------
    repo_id : str
        ``ORG/NAME``, as `repo_name` gives it.
    public : bool
        Whether a repository that is made can be read by everybody; one that exists stays as it is.
    """

    repo_id: str
    public: bool = False


@dataclass(frozen=True)
class Uploaded:
    """What the hub holds now.

    Attributes
    ----------
    repo_id : str
    private : bool
        Whether only those see it who have the right.
    commit : str
        The revision that holds exactly these files.
    files : tuple of File
        All files of the dataset, whether they had to be sent this time or not.
    """

    repo_id: str
    private: bool
    commit: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Remote:
    """A file of a repository: size, Git's checksum, and the SHA-256 where it is a large file."""

    size: int
    blob: str
    sha256: str | None


@dataclass(frozen=True)
class State:
    """A repository at one commit."""

    commit: str
    private: bool
    files: Mapping[str, Remote]


def repo_name(repo_id: str, dataset: str, suffix: str = "dataset") -> str:
    """Return the repository of a dataset: ``ORG/NAME-DATASET``, or ``ORG/NAME`` without suffix.

    The rules are the hub's own: letters, digits, ``.``, ``_`` and ``-``, no ``--`` and no ``..``,
    neither ``-`` nor ``.`` at an end, no ``.git`` at the end, 96 characters at most.

    Raises
    ------
    Failure
        USAGE when the hub would not take the name.

    Examples
    --------
    >>> repo_name("lab/cells", "pbmc68k")
    'lab/cells-pbmc68k'
    """
    full = f"{repo_id}-{dataset}" if suffix == "dataset" else repo_id
    parts = full.split("/")
    problem = ""
    if len(parts) != 2:
        problem = "is not ORG/NAME"
    elif any(not _PART.fullmatch(part) for part in parts):
        problem = "has other signs than letters, digits, '.', '_', '-', or ends in '.' or '-'"
    elif "--" in full or ".." in full or full.endswith(".git"):
        problem = "has '--' or '..' in it, or '.git' at its end"
    elif any(len(part) > LONGEST_NAME for part in parts):
        problem = f"is longer than {LONGEST_NAME} characters"
    if problem:
        raise Failure(
            Category.USAGE,
            f"{full!r} cannot be a repository: it {problem}",
            "choose another --repo-id or --dataset",
        )
    return full


def upload(dataset: Path, also: Sequence[Path], target: Target, token: str) -> Uploaded:
    """Make the repository hold the dataset, and check that it does.

    Parameters
    ----------
    dataset : Path
        Folder as cells-convert makes it.
    also : sequence of Path
        Tables to send with it: see `upload_files.collect`.
    target : Target
    token : str
        With the right to write; it goes nowhere but into the requests.

    Raises
    ------
    Failure
        As `upload_files.collect` does before anything is sent; UNAVAILABLE when the hub cannot be
        reached, is overloaded, or holds something else than was sent; PERMISSION when it refuses
        the token; OUTPUT_WRITE when its storage is full; DATA_INVALID when it refuses a file.
    """
    from huggingface_hub import HfApi

    files = upload_files.collect(dataset, also)
    with hub_client.errors(target.repo_id):
        api = HfApi(token=token, library_name="cohortflow", library_version=__version__)
        before = state(api, target.repo_id) or _create(api, target)
        changed = [file for file in files if not same(file, before.files.get(file.path))]
        stale = sorted(surplus(files, before))
        after = before
        if changed or stale:
            commit = _commit(api, target.repo_id, before.commit, changed, stale)
            after = _state_of(api, target.repo_id, commit)
        check(target.repo_id, files, after)
        return Uploaded(target.repo_id, after.private, after.commit, files)


def state(api: HfApi, repo_id: str) -> State | None:
    """Return what a repository holds now; None when there is none that the token may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return _state_of(api, repo_id)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:
            raise  # 401 is an unknown token, 403 a repository that one must ask for
        return None


def _state_of(api: HfApi, repo_id: str, commit: str | None = None) -> State:
    from huggingface_hub.hf_api import RepoFile

    info = api.dataset_info(repo_id, revision=commit, expand=["private", "sha"])
    tree = api.list_repo_tree(repo_id, repo_type=_KIND, revision=info.sha, recursive=True)
    files = {
        entry.path: Remote(entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        for entry in tree
        if isinstance(entry, RepoFile)
    }
    return State(str(info.sha), bool(info.private), files)


def _create(api: HfApi, target: Target) -> State:
    # Another step may make it in this moment; its visibility is read again for that.
    api.create_repo(target.repo_id, repo_type=_KIND, private=not target.public, exist_ok=True)
    return _state_of(api, target.repo_id)


def same(file: File, remote: Remote | None) -> bool:
    """Say whether the hub holds these bytes; small files have Git's checksum only."""
    if remote is None or remote.size != file.size:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == file.sha256
    content = file.source.read_bytes()
    header = f"blob {len(content)}\0".encode()
    # Git's name of a content, not a protection
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == remote.blob


def surplus(files: Iterable[File], remote: State) -> set[str]:
    """Return the paths of a repository that a dataset may have and this one has not."""
    ours = {file.path for file in files}
    return {path for path in remote.files if upload_files.belongs(path)} - ours


def check(repo_id: str, files: Sequence[File], remote: State) -> None:
    """Compare the hub's word on what it holds with the dataset.

    Raises
    ------
    Failure
        UNAVAILABLE when a file differs, is missing, or is there although it should not be.
    """
    wrong = [file.path for file in files if not same(file, remote.files.get(file.path))]
    wrong += sorted(surplus(files, remote))
    if wrong:
        raise Failure(
            Category.UNAVAILABLE,
            f"{repo_id}: the hub does not hold {wrong[0]} as it was sent",
            "run again; look for a .gitignore in the repository when it stays so",
        )


def _commit(
    api: HfApi, repo_id: str, parent: str, changed: Sequence[File], stale: Iterable[str]
) -> str:
    from huggingface_hub import CommitOperationDelete

    additions = [_addition(file) for file in changed]
    for some in _groups(additions):
        api.preupload_lfs_files(
            repo_id, some, repo_type=_KIND, num_threads=SENDERS, free_memory=False
        )
    deletions = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in stale]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions, *deletions]
    # With its parent named, the hub refuses the commit when somebody else was faster.
    info = api.create_commit(
        repo_id,
        operations,
        repo_type=_KIND,
        commit_message="Publish the dataset",
        parent_commit=parent,
    )
    return info.oid


def _addition(file: File) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    addition = CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.source)
    addition.upload_info.sha256 = bytes.fromhex(file.sha256)  # spares reading the file again
    return addition


def _groups(additions: list[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    for first in range(0, len(additions), SENDERS):
        yield additions[first : first + SENDERS]


def write(folder: Path, done: Uploaded) -> None:
    """Write ``upload.json`` and ``metrics.json`` into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    files = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in done.files]
    about = {"repo_id": done.repo_id, "private": done.private, "commit": done.commit}
    save.write_json(folder / "upload.json", {**about, "files": files})
    metrics = {
        "uploaded_files": len(done.files),
        "uploaded_bytes": sum(file.size for file in done.files),
    }
    save.write_json(folder / "metrics.json", metrics)
