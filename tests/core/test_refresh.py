"""A manifest's unit is looked at again: nothing old is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cohortflow.core import lanes, refresh
from cohortflow.core.lanes import Lane, Selection
from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category, Failure

EXCLUDED = Excluded(category=Category.INPUT_MISSING, message="no bvec", remedy="add it")
FOUND = Unit(
    id="sub-01",
    folder="sub-01",
    entities={"subject": "01"},
    inputs=[Input(role="dwi", path="/study/a", bytes=5, mtime_ns=6)],
)


def lane(*found: Unit) -> Lane:
    """Return the lane with a study that holds some units."""

    def discover(study: Path, selection: Selection) -> Iterator[Unit]:
        return iter([unit for unit in found if unit.entities["subject"] in selection.participants])

    def complete(unit: Unit, base: Path, parameters: Mapping[str, str]) -> Unit:
        if unit.inputs[0].path == "gone":
            raise Failure(Category.INPUT_MISSING, "gone: no such file", "add it")
        return unit.model_copy(update={"inputs": FOUND.inputs})

    return replace(lanes.get("dwi"), discover=discover, complete=complete)


def test_sizes_and_times_are_taken_anew() -> None:
    old = FOUND.model_copy(update={"inputs": [Input(role="dwi", path="/study/a", bytes=1)]})
    assert refresh.unit(old, lane(), Path("/study"), {}) == FOUND


def test_a_cause_that_was_mended_excludes_no_longer() -> None:
    excluded = FOUND.model_copy(update={"inputs": [], "excluded": EXCLUDED})
    assert refresh.unit(excluded, lane(FOUND), Path("/study"), {}) == FOUND


def test_an_input_that_is_gone_excludes() -> None:
    lost = FOUND.model_copy(update={"inputs": [Input(role="dwi", path="gone")]})
    found = refresh.unit(lost, lane(), Path("/study"), {}).excluded
    assert found is not None
    assert (found.category, found.message) == (Category.INPUT_MISSING, "gone: no such file")


def test_a_unit_that_is_nowhere_says_so() -> None:
    nowhere = FOUND.model_copy(update={"inputs": []})
    found = refresh.unit(nowhere, lane(), Path("/study"), {}).excluded
    assert found is not None
    assert "no inputs in the manifest" in found.message
