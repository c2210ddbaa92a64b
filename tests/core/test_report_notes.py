"""Published texts that the report shows: whole, cleaned, and from the unit's folder alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortflow.core.lanes import Note
from cohortflow.core.reporting import notes
from cohortflow.core.reporting.clean import cleaner

NOTE = Note("Methods", "figures/{prefix}_desc-*.txt")
PATH = "figures/sub-01_desc-methods.txt"


def read(folder: Path, content: bytes | None, listed: str = PATH) -> list[notes.Text]:
    (folder / "figures").mkdir(exist_ok=True)
    if content is not None:
        (folder / listed).write_bytes(content)
    clean = cleaner(Path("/out"), "/data/my study")
    return list(notes.of_unit((NOTE,), folder, "sub-01", [listed], clean))


def test_paragraphs_are_kept_with_their_lines(tmp_path: Path) -> None:
    (text,) = read(tmp_path, "One: µ.\n\n\nTwo\n  - a\n  - b\r\n\r\nThree\n".encode())
    assert (text.title, text.name) == ("Methods", PATH)
    assert text.paragraphs == ("One: µ.", "Two\n  - a\n  - b", "Three")


def test_a_long_paragraph_is_not_cut(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(500))
    (text,) = read(tmp_path, long.encode())
    assert text.paragraphs == (long,)


def test_machine_paths_secrets_and_terminal_codes_are_taken_out(tmp_path: Path) -> None:
    said = "x " * 300 + "token=abcdefgh12345678 of /data/my study/sub-01/a.nii \x1b[31mred\x07"
    (text,) = read(tmp_path, said.encode())
    assert text.paragraphs is not None
    assert text.paragraphs[0].endswith("token=[removed] of sub-01/a.nii red\\x07")


@pytest.mark.parametrize("before", range(340, 400, 3))
def test_what_names_a_patient_is_taken_out_wherever_a_long_line_is_cut(
    tmp_path: Path, before: int
) -> None:
    (text,) = read(tmp_path, f"{'x' * before} Patient name: Ada Maria Lovelace".encode())
    assert text.paragraphs is not None
    assert "Ada" not in text.paragraphs[0]
    assert "Lovelace" not in text.paragraphs[0]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a" * 64_001, None])
def test_what_is_no_small_text_is_not_shown(tmp_path: Path, content: bytes | None) -> None:
    (text,) = read(tmp_path, content)
    assert text.paragraphs is None


def test_the_largest_text_is_shown(tmp_path: Path) -> None:
    assert read(tmp_path, b"ab " * 21_333)[0].paragraphs is not None


def test_a_file_that_is_not_declared_is_no_note(tmp_path: Path) -> None:
    assert read(tmp_path, b"x", "figures/sub-02_desc-methods.txt") == []


def test_a_link_out_of_the_units_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "unit"
    (folder / "figures").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / PATH).symlink_to(tmp_path / "secret.txt")
    assert read(folder, None)[0].paragraphs is None
