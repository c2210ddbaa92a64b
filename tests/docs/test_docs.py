"""What the documentation shows exists: commands parse, links lead somewhere, tables are current."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import click
import numpy as np
import pytest
from click.testing import CliRunner

from cohortflow.core import lanes
from cohortflow.dwi import register_files, rois, track_files
from cohortflow.dwi.affine import Affine
from cohortflow.dwi.atlas import Atlas
from cohortflow.dwi.field_of_view import FieldOfView
from cohortflow.dwi.register import Registration
from cohortflow.dwi.streamlines import Streamlines
from cohortflow.dwi.track import Candidates
from cohortflow.dwi.tracking import Settings, Tracked
from cohortflow.example import truth
from cohortflow.example.phantom import make_phantom
from cohortflow.main import main
from dwi import toy_tract

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
# Pages that `make docs` writes into docs/reference/: one a command.
TOOLS = {path.name: path for path in sorted((ROOT / "bin").glob("*-*"))}
REFERENCE = {"index.md", "cohortflow.md", *(f"{name}.md" for name in TOOLS)} | {
    f"cohortflow-{name}.md" for name in main.commands
}
PLACEHOLDERS = {"LANE": "dwi"}
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
MAXIMUM_PICTURE = 150_000


def module(path: Path) -> ModuleType:
    """Load a Python file that no package holds, with or without suffix."""
    loader = importlib.machinery.SourceFileLoader(path.stem.replace("-", "_"), str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    loader.exec_module(made)
    return made


# These make their command line only when options ask for it.
LAZY = {"core-supervise", "core-sweep"}


def blocks(text: str) -> tuple[list[str], str]:
    """Return the lines of code blocks, continued ones joined, and the text beside them."""
    code: list[str] = []
    prose: list[str] = []
    fenced = False
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(line.strip().removeprefix("$ "))
        else:
            prose.append(line)
    return code, "\n".join(prose)


def shown() -> Iterator[tuple[str, str]]:
    """Yield (page, command line) of all that the pages show, in blocks and within sentences."""
    for page in PAGES:
        code, prose = blocks(page.read_text(encoding="utf-8"))
        for line in [*code, *SPAN.findall(prose)]:
            yield page.relative_to(ROOT).as_posix(), line


def lines_of(*names: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, names))})(?: |$)")
    return sorted({(page, line) for page, line in shown() if pattern.match(line)})


def words(line: str) -> list[str]:
    """Split a command line as a shell does, up to what is no longer its own."""
    before = re.split(r" [|<>]|…| \.\.\.", line)[0]
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(before, comments=True)]


def parse(command: click.Command, name: str, given: list[str]) -> None:
    """Parse as the real command does, and run nothing."""
    if isinstance(command, click.Group) and given:
        below = command.get_command(click.Context(command), given[0])
        assert below is not None, f"{name} has no command {given[0]}"
        parse(below, f"{name} {given[0]}", given[1:])
    elif given and not {"--help", "--version"} & set(given):
        command.make_context(name, list(given))


@pytest.fixture
def without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every path of an example count as there."""

    def convert(_self: click.Path, value: Any, _parameter: object, _context: object) -> Path:
        return Path(value)

    monkeypatch.setattr(click.Path, "convert", convert)


@pytest.mark.usefixtures("without_files")
@pytest.mark.parametrize(("page", "line"), lines_of("cohortflow"))
def test_a_command_that_is_shown_parses(page: str, line: str) -> None:
    parse(main, "cohortflow", words(line)[1:])


@pytest.mark.usefixtures("without_files")
@pytest.mark.parametrize(("page", "line"), lines_of(*sorted(TOOLS.keys() - LAZY)))
def test_a_tool_that_is_shown_parses(page: str, line: str) -> None:
    name, *given = words(line)
    parse(module(TOOLS[name]).main, name, given)


def test_a_command_that_does_not_parse_is_found() -> None:
    for wrong in ("run dwi STUDY OUT --no-such", "run xyz STUDY OUT", "wyh OUT sub-01", "why OUT"):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(main, "cohortflow", words(f"cohortflow {wrong}")[1:])


def test_the_readme_and_the_pages_show_commands() -> None:
    pages = {page for page, _ in lines_of("cohortflow")}
    assert {"README.md", "docs/start.md", "docs/dwi.md"} <= pages


@pytest.mark.parametrize(("page", "line"), lines_of("make"))
def test_a_make_target_that_is_shown_exists(page: str, line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in (word for word in words(line)[1:] if "=" not in word):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    _, prose = blocks(page.read_text(encoding="utf-8"))
    for link in LINK.findall(prose):
        if re.match(r"[a-z]+:|#", link):
            continue
        target = (page.parent / unquote(link.partition("#")[0])).resolve()
        made = target.parent == DOCS / "reference" and target.name in REFERENCE
        assert made or target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT)


def test_every_page_but_the_index_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text(encoding="utf-8"))
    }
    assert {page for page in DOCS.glob("*.md") if page.name != "index.md"} <= linked


def test_the_table_of_outcomes_is_current() -> None:
    generator = module(DOCS / "generate" / "outcomes.py")
    current = (DOCS / "outcomes.md").read_text(encoding="utf-8")
    assert current == generator.page(), "run docs/generate/outcomes.py"


def lane_pages() -> str:
    """Return the text of both pages of the lane dwi."""
    return "\n".join(
        (DOCS / name).read_text(encoding="utf-8") for name in ("dwi.md", "dwi-tract.md")
    )


def defined(text: str) -> set[str]:
    """Return the names that tables have in their first column."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in SPAN.findall(row)}


def test_the_lane_pages_name_every_output_and_parameter() -> None:
    text = lane_pages()
    lane = lanes.get("dwi")
    for output in (one.format(prefix="PREFIX") for one in (*lane.outputs, *lane.optional)):
        stem = re.sub(r"\.(nii\.gz|json|bval|bvec|png|tsv|trk|tck)$", "", output)
        assert stem in text, output
    for parameter in lane.parameters:
        assert f"`{parameter.name}`" in text
        assert all(f"`{choice}`" in text for choice in parameter.choices)
        assert parameter.choices or not parameter.default or f"`{parameter.default}`" in text


def invoke(step: str, *given: str | Path) -> set[str]:
    """Run a tool; return the names of the metrics that it writes."""
    result = CliRunner().invoke(module(TOOLS[f"dwi-{step}"]).main, [*map(str, given)])
    assert result.exit_code == 0, result.output
    folder = Path(given[list(given).index("--output") + 1])
    return set(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))


def test_the_lane_page_defines_every_metric_that_the_steps_write(tmp_path: Path) -> None:
    scan = make_phantom(5, voxel_size=6, directions=6)
    truth.write_scan(truth.Place(tmp_path, "sub-01"), scan)
    series = next(tmp_path.rglob("sub-01_dwi.nii.gz"))
    brain = ["--mask", str(tmp_path / "mask" / "dwi" / "sub-01_desc-brain_mask.nii.gz")]
    chain: dict[str, list[str]] = {
        "convert": [], "denoise": [], "unring": [], "correct": [], "mask": [], "bias": brain,
        "orient": [*brain, "--gradient-check", "warn"], "tensor": brain, "fod": brain,
    }  # fmt: skip
    written = set[str]()
    for step, more in chain.items():
        folder = tmp_path / step
        written |= invoke(step, series, "--output", folder, *more)
        series = next(iter(folder.glob("dwi/*_dwi.nii*")), series)
    names = defined((DOCS / "dwi.md").read_text(encoding="utf-8"))
    assert written
    assert written <= names, written - names


def of_registration() -> set[str]:
    """Return the names of the metrics that ``dwi-register`` writes."""
    nothing = np.zeros((1, 1, 1), np.float32)
    found = Registration(
        method="syn",
        coordinates=np.zeros((1, 1, 1, 3), np.float32),
        template=nothing,
        affine=Affine(np.eye(4), 0.8),
        seen=FieldOfView(1.0, 1.0, 1.0),
        correlation=0.8,
        moved_mm=1.0,
        refused=None,
    )
    return set(register_files.metrics(found, Atlas("of-toys", nothing, np.eye(4), {})))


def of_tracking(candidates: Streamlines) -> set[str]:
    """Return the names of the metrics that ``dwi-track`` writes."""
    ended = {"low_fa": 1, "outside": 1, "turned": 1, "too_long": 1}
    found = Candidates(Tracked(candidates, ended), np.ones((1, 1, 1), bool))
    return set(track_files.metrics(found, Settings(), 100))


def test_the_tracts_page_defines_the_metrics_that_its_steps_write_and_no_others(
    tmp_path: Path,
) -> None:
    candidates = toy_tract.pack([*toy_tract.bundle("left"), *toy_tract.bundle("right", seed=2)])
    toy = toy_tract.write(tmp_path, candidates)
    written = of_registration() | of_tracking(candidates)
    written |= set(rois.volumes(toy_tract.labels(), 0.027))
    tractogram = next(toy.track.glob("dwi/*.trk"))
    written |= invoke("cst", tractogram, *toy.made, "--output", tmp_path / "cst")
    made = (*toy_tract.write_told(tmp_path), toy.tensor, toy.register, toy.rois, toy.track)
    written |= invoke("metrics", *made, tmp_path / "cst", "--output", tmp_path / "metrics")
    page = (DOCS / "dwi-tract.md").read_text(encoding="utf-8")
    names = defined(page.partition("## The numbers")[2].partition("\n## ")[0])
    assert written == names, written ^ names


def test_pictures_are_small() -> None:
    for picture in (DOCS / "img").iterdir():
        assert picture.stat().st_size < MAXIMUM_PICTURE, picture.name
