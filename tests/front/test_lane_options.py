"""A lane's parameters are options of its own, and an older program's options are understood."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.commands import shorthands
from cohortflow.front import run
from cohortflow.main import main

FLAGS = {"--overwrite", "--wait", "--skip-train-test-split", "--gene-ids", "--public-repo"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., run.Request]:
    """Return a function that gives the request that a command line makes; nothing is run."""
    monkeypatch.chdir(tmp_path)
    for folder in ("study", "data/input"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "study" / "a.h5ad").touch()
    requests: list[run.Request] = []

    def planned(request: run.Request) -> Any:
        requests.append(request)
        raise click.Abort

    monkeypatch.setattr(run, "planned", planned)

    def ask(*words: str) -> run.Request:
        result = CliRunner().invoke(main, ["run", "--dry-run", *words])
        assert requests, result.output
        return requests.pop()

    return ask


def refusal(*words: str) -> str:
    """Return the one line that a command line is refused with."""
    result = CliRunner().invoke(main, ["run", "--dry-run", *words])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        (["--top-genes", "100"], {"top_genes": "100"}),
        (["--top_genes=100"], {"top_genes": "100"}),
        (["--parameter", "top_genes=100"], {"top_genes": "100"}),
        (["--skip-train-test-split", "--test-size", "0.1"],
         {"skip_train_test_split": "true", "test_size": "0.1"}),
        (["--hgnc", "a b.txt"], {"hgnc": "a b.txt"}),
        ([], {}),
    ],
)  # fmt: skip
def test_an_option_is_the_parameter_of_its_name(
    asked: Callable[..., run.Request], words: list[str], parameters: dict[str, str]
) -> None:
    assert asked("cells", "study", "out", *words).parameters == parameters
    assert asked(*words, "cells", "study", "out").parameters == parameters


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cells", "study", "out", "--gradient-check", "warn"], "--gradient-check is no option"),
        (["dwi", "study", "out", "--gene-ids"], "--gene-ids is no option of lane dwi"),
        (["cells", "study", "out", "--top-genes", "1", "--parameter", "top_genes=2"], "the same"),
        (["dwi", "study/a.h5ad", "out"], "a.h5ad is a file, and lane dwi takes a folder"),
        (["cells", "study", "out", "--participant-label", "01"], "no subjects and sessions"),
        (["cells", "study", "out", "--no-such"], "No such option"),
        (["cells", "none", "out"], "'none' does not exist"),
        (["cells", "study", "-o"], "requires an argument"),
    ],
)
def test_what_means_nothing_to_the_lane_is_refused(words: list[str], said: str) -> None:
    assert said in refusal(*words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top-genes", "0"], "a whole number from 1"),
        (["--test-size", "1"], "a number from 0 below 1"),
        (["--compression", "zip"], "zstd, snappy"),
        (["--gradient-check", "maybe"], "no option of lane cells"),
    ],
)
def test_a_value_is_checked_by_the_lane(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "study").mkdir()
    assert said in refusal("cells", str(tmp_path / "study"), str(tmp_path / "out"), *words)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("form", [["--token", "hf_abc123"], ["--token=hf_abc123"]])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    form: list[str], command: str
) -> None:
    result = CliRunner().invoke(main, [command, "cells", "study", "out", *form])
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    assert "HF_TOKEN" in result.stderr
    assert "abc123" not in result.output


@pytest.mark.parametrize(
    ("words", "study", "out"),
    [
        (["--input-dir", "study", "--output-dir", "o"], "study", "o"),
        (["study", "-o", "o"], "study", "o"),
        (["--input_dir=study", "o"], "study", "o"),
        (["study"], "study", "data/output"),
        ([], "data/input", "data/output"),
        (["--batch-mode", "--skip-existing", "study", "o"], "study", "o"),
        (["--input-dir", "study", "--", "-o"], "study", "-o"),
    ],
)
def test_an_older_programs_options_name_study_and_output(
    asked: Callable[..., run.Request], words: list[str], study: str, out: str
) -> None:
    found = asked("--limit", "3", "cells", *words)
    assert (found.study, found.out) == (Path(study), Path(out))


def test_an_older_programs_options_say_where_scratch_is_and_that_it_stays(
    asked: Callable[..., run.Request], tmp_path: Path
) -> None:
    usual = asked("cells", "study", "o")
    assert (usual.work, usual.clean) == (None, "unit"), "the lane's own"
    kept = asked("cells", "study", "o", "--interim-dir", "scratch", "--keep-interim", "--public")
    assert (kept.work, kept.clean) == (Path("scratch"), "never")
    assert kept.parameters == {"public_repo": "true"}
    assert asked("--keep-interim", "cells", "study", "o").clean == "never"
    assert asked("dwi", "study", "o").clean == "never"
    assert asked("cells", "study", "o", "--log-dir", "l").logs == Path("l")


def test_one_file_is_a_study_of_its_folder(
    asked: Callable[..., run.Request], tmp_path: Path
) -> None:
    found = asked("cells", "study/a.h5ad", "o")
    assert found.study == tmp_path / "study"
    assert found.chosen.file == tmp_path / "study" / "a.h5ad"
    assert asked("cells", "study", "o").chosen.file is None


def test_a_lane_without_logs_takes_no_folder_for_them(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    line = refusal("dwi", str(tmp_path / "study"), str(tmp_path / "o"), "--log-dir", "l")
    assert "--log-dir" in line


@given(st.lists(st.sampled_from(["dwi", "a", "b", "--overwrite", "--limit", "3", "-x", "--"])))
def test_the_command_line_of_a_lane_without_other_names_is_left_as_it_is(words: list[str]) -> None:
    assert shorthands.replaced(words, FLAGS) == words


@given(
    st.lists(
        st.sampled_from(
            ["--output-dir=y", "--input-dir=x", "--batch-mode", "a", "--limit=3", "--gene-ids"]
        )
    )
)
def test_every_command_line_is_taken_apart_or_refused_in_one_line(words: list[str]) -> None:
    try:
        found = shorthands.replaced(["cells", *words], FLAGS)
    except click.UsageError as error:
        assert "\n" not in error.format_message()
        return
    assert found[found.index("--") + 1] == "cells"
    assert found.count("--limit=3") + found.count("--limit") == words.count("--limit=3")
    assert found.count("--gene-ids") == words.count("--gene-ids")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_the_help_lists_each_lanes_options_below_its_name(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).output
    own, _, rest = text.partition("\nLane dwi:\n")
    dwi, _, cells = rest.partition("\nLane cells:\n")
    assert "--overwrite" in own
    assert "--help" in own
    assert "--gradient-check" in dwi
    for word in ("--top-genes", "--skip-train-test-split", "--input-dir", "--keep-interim"):
        assert word in cells
        assert word not in own + dwi


def test_the_list_of_lanes_says_of_what_kind_each_parameter_is() -> None:
    text = CliRunner().invoke(main, ["lanes"]).output
    for line in (
        "--parameter gradient_check=correct (correct|refuse|warn|off)",
        "--parameter top_genes=2000 (a whole number from 1)",
        "--parameter gene_ids=false (true or false)",
        "--parameter hgnc= (a path or an address)",
    ):
        assert line in text


def test_no_lane_is_loaded_before_its_options_are_asked_for(root: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cohortflow.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.endswith('.lane')], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, root / "bin"], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_a_lane_is_light_to_load(root: Path) -> None:
    heavy = ("numpy", "h5py", "pyarrow", "numba", "matplotlib", "huggingface_hub", "nibabel")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cohortflow.core import lanes\n"
        "for name in lanes.LANES: lanes.get(name)\n"
        f"print(sorted(set(sys.modules) & set({heavy})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, root / "bin"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
