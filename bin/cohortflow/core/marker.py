"""The completion marker `_done.json`: the one source of truth for "this unit is complete"."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cohortflow.core.manifest import Input

NAME = "_done.json"


class Output(BaseModel):
    """One published file, relative to the unit's folder."""

    model_config = ConfigDict(frozen=True)

    path: str
    bytes: int
    sha256: str


class Marker(BaseModel):
    """What `_done.json` holds; paths of inputs are relative to the dataset where they can be."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    unit: str
    lane: str
    run: str
    pipeline_version: str
    code: dict[str, str]
    parameters: dict[str, str]
    options: dict[str, str]
    inputs: list[Input]
    input_fingerprint: str
    outputs: list[Output]
    timings: dict[str, float]
    finished: str


def read(folder: Path) -> Marker | str | None:
    """Read a unit's marker and look whether its outputs are there.

    Parameters
    ----------
    folder : Path
        The unit's folder.

    Returns
    -------
    Marker, str or None
        None when there is no marker; a text that says what is wrong when it is damaged (not
        readable, or an output that it lists is missing or has another size).
    """
    path = folder / NAME
    try:
        marker = Marker.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return f"{folder.name} is not a folder"
    except OSError as error:
        return f"{NAME} cannot be read: {error.strerror}"
    except ValidationError as error:
        return f"{NAME} cannot be read: {error.errors()[0]['msg']}"
    for output in marker.outputs:
        try:
            size = (folder / output.path).stat().st_size
        except (OSError, ValueError):  # a path with a null byte is a ValueError
            return f"{output.path} is missing"
        if size != output.bytes:
            return f"{output.path} has {size} bytes, not {output.bytes}"
    return marker
