"""The client of a Hugging Face hub: its token, bounded waiting, and its errors as categories.

What is said here of the client was read in the source of huggingface_hub 2.4.0.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortflow.core import outcome
from cohortflow.core.outcome import Category, Failure

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

CONNECT_S = 10.0
ANSWER_S = 60.0
"""Longest wait for the next bytes of an answer, or for the hub to take the next bytes."""
TRIES = 3
"""How often one request is sent at most; Nextflow tries the step again after that."""
PAUSE_S = 30
"""Longest pause that the hub may ask for (``Retry-After``) between two tries."""

_PASSING = {408, 409, 429, 500, 502, 503, 504}  # the client sends such a request again
_TOKEN = re.compile(r"[\x21-\x7e]+")
_FULL = re.compile(r"storage|quota", re.IGNORECASE)
_RATE_LIMIT = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)")
_WAYS = "set HF_TOKEN, or name a file that holds it by --token-file or HF_TOKEN_PATH"


def read_token(token_file: Path | None = None) -> str:
    """Return the hub's token: from a file when one is named, else as the hub's own client does.

    This function reads the environment: ``HF_TOKEN``, then the file of ``HF_TOKEN_PATH`` or the
    file that ``hf auth login`` wrote (which is renewed when it is about to expire).

    Raises
    ------
    Failure
        CONFIG when there is no token, or what is there cannot be one. The message never holds
        it, nor the file's name: people have given the token itself for that.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = get_token() or "" if token_file is None else token_file.read_text().strip()
    except PermissionError:
        raise Failure(Category.PERMISSION, "the token's file may not be read", _WAYS) from None
    except (OSError, UnicodeDecodeError, OIDCError) as error:
        what = "--token-file names" if token_file else "the environment names"
        raise Failure(
            Category.CONFIG, f"the token that {what} cannot be read ({type(error).__name__})", _WAYS
        ) from None
    if not token:
        raise Failure(Category.CONFIG, "there is no token for the hub", _WAYS)
    if not _TOKEN.fullmatch(token):
        raise Failure(Category.CONFIG, "the token for the hub is not one word of ASCII", _WAYS)
    return token


def limit_waiting(answer_s: float = ANSWER_S) -> None:
    """Bound how long the client waits, how often it tries again, and which pauses it makes.

    By itself it waits for ever for an answer, sends what failed six times, and sleeps as long as
    the hub asks for. The limits are set for the whole process, as the client's factory is.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    before, after = _hooks(answer_s)

    def client() -> Any:  # noqa: ANN401 - of httpx or httpx2, as the client's version has it
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {
            "request": [*hooks["request"], before],
            "response": [*hooks["response"], after],
        }
        return made

    set_client_factory(client)


def _hooks(answer_s: float) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    limits = {"connect": CONNECT_S, "read": answer_s, "write": answer_s, "pool": answer_s}
    unanswered: dict[tuple[str, str], int] = {}  # a client is made anew after a lost connection

    def before(request: Any) -> None:  # noqa: ANN401
        given = request.extensions.get("timeout", {})
        # Some calls of the client ask for no timeout, over that of the session.
        request.extensions["timeout"] = {
            name: limit if given.get(name) is None else given[name]
            for name, limit in limits.items()
        }
        key = (request.method, str(request.url))
        sent = unanswered.pop(key, 0)
        if sent >= TRIES:
            raise _unavailable(f"the hub gave no usable answer {sent} times")
        unanswered[key] = sent + 1

    def after(response: Any) -> None:  # noqa: ANN401
        pause = asked_pause(response.status_code, response.headers)
        if pause > PAUSE_S:
            raise _unavailable(f"the hub asks to wait {pause} s")
        if response.status_code == 409:
            time.sleep(1)  # another repository is being made: the client asks again at once
        if response.status_code not in _PASSING:
            unanswered.pop((response.request.method, str(response.request.url)), None)

    return before, after


def asked_pause(status: int, headers: Mapping[str, str]) -> int:
    """Return the seconds that a hub asks to wait before the next try; 0 when it does not.

    Parameters
    ----------
    status : int
        Of the answer; only 429 and 503 ask.
    headers : mapping
        ``Retry-After`` in seconds, or ``RateLimit`` with nothing remaining (``r=0;t=SECONDS``).
    """
    if status not in {429, 503}:
        return 0
    asked = str(headers.get("retry-after", "")).strip()
    limited = _RATE_LIMIT.search(str(headers.get("ratelimit", "")))
    return max(int(asked) if asked.isdigit() else 0, int(limited[1]) if limited else 0)


@contextmanager
def errors(repo_id: str) -> Iterator[None]:
    """Turn what the client raises into a Failure; what is nobody's fault but ours stays."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        failure = failure_of(error, repo_id)
        if failure is None:
            raise
        raise failure from error


def failure_of(error: BaseException | None, repo_id: str) -> Failure | None:
    """Translate an error of the client, or its cause: the client wraps what its threads raise.

    Returns
    -------
    Failure or None
        None for what no rule knows: a bug.
    """
    from huggingface_hub import errors as hub_errors

    # Every error of httpx or httpx2, whichever the client is built on.
    transport: type[Exception] = vars(hub_errors)["HTTPError"]
    while error is not None:
        if isinstance(error, Failure):
            return error
        if isinstance(error, hub_errors.HfHubHTTPError):
            return _of_answer(error, repo_id)
        if isinstance(error, hub_errors.OfflineModeIsEnabled):
            return Failure(Category.CONFIG, "HF_HUB_OFFLINE forbids to reach the hub", "unset it")
        if isinstance(error, (transport, ConnectionError, TimeoutError)):
            reason = str(error).partition("\n")[0] or type(error).__name__
            return _unavailable(f"{repo_id}: the hub cannot be reached ({reason})")
        if isinstance(error, OSError):
            return outcome.failure_of(error)
        if isinstance(error, ValueError):
            return _of_sense(error, repo_id)
        error = error.__cause__
    return None


def _of_answer(error: HfHubHTTPError, repo_id: str) -> Failure:
    status = error.response.status_code
    said = _said(error.server_message or "")
    # The storage behind the hub is reached by signed addresses, without the token.
    ours = "authorization" in error.response.request.headers
    if status in {402, 413, 507} or (status == 403 and _FULL.search(said)):
        return _full(repo_id, said or f"HTTP {status}")
    if status == 401:
        return Failure(
            Category.PERMISSION,
            f"{repo_id}: the hub does not accept the token",
            "check HF_TOKEN: `hf auth whoami`",
        )
    if status in {403, 404} and ours:
        return Failure(
            Category.PERMISSION,
            f"{repo_id}: the token may not write there ({said or status})",
            "use a token that may write to the repository's owner",
        )
    if status in {409, 412}:
        return _unavailable(f"{repo_id}: somebody else changes it at the same time")
    if status in {400, 422} and ours:
        return Failure(
            Category.DATA_INVALID,
            f"{repo_id}: the hub refuses the dataset ({said or status})",
            "correct what it names",
        )
    return _unavailable(f"{repo_id}: the hub answers {status} {said}".rstrip())


def _of_sense(error: ValueError, repo_id: str) -> Failure:
    """Name an error that the client found in what a hub said, by its words: it has no type."""
    said = _said(str(error).partition("\n")[2] or str(error))
    if str(error).startswith("Invalid metadata in README.md"):
        return Failure(
            Category.DATA_INVALID, f"README.md: the hub refuses its header: {said}", "correct it"
        )
    if str(error).startswith("LFS batch") and _FULL.search(said):
        return _full(repo_id, said)
    return _unavailable(f"{repo_id}: the hub's answer makes no sense ({said})")


def _full(repo_id: str, said: str) -> Failure:
    return Failure(
        Category.OUTPUT_WRITE,
        f"{repo_id}: the hub's storage is full: {said}",
        "free space or raise the limit at the hub, then run again",
    )


def _unavailable(message: str) -> Failure:
    return Failure(Category.UNAVAILABLE, message, "check network and HF_ENDPOINT, then run again")


def _said(text: str) -> str:
    """Keep one short line of what a hub said; a page of HTML or XML says nothing to people."""
    line = text.strip().partition("\n")[0]
    return "" if line.startswith("<") else line[:200]
