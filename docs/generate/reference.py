"""Write docs/reference/: one page a command, from the command's own --help."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click

from cohortflow.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"


def tool_help(tool: Path) -> str:
    """Return what a tool of bin/ prints for --help."""
    command = [sys.executable, str(tool), "--help"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def command_help(name: str, command: click.Command, parent: click.Context) -> str:
    """Return what a command of `cohortflow` prints for --help."""
    context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
    return command.get_help(context)


def summary(text: str) -> str:
    """Return the first sentence of a help text, which follows the usage."""
    paragraph = text.split("\n\n")[1]
    return " ".join(paragraph.split()).split(". ")[0].rstrip(".") + "."


def pages() -> dict[str, str]:
    """Return the help text of every command, by name: the front door first, then the tools."""
    top = click.Context(main, info_name="cohortflow", **main.context_settings)
    texts = {"cohortflow": main.get_help(top)}
    for name in main.list_commands(top):
        command = main.get_command(top, name)
        if command is not None and not command.hidden:
            texts[f"cohortflow {name}"] = command_help(name, command, top)
    for tool in sorted((ROOT / "bin").glob("*-*")):
        texts[tool.name] = tool_help(tool)
    return texts


def write(texts: dict[str, str]) -> None:
    """Write one page a command and an index, and drop the pages of commands that are gone."""
    shutil.rmtree(REFERENCE, ignore_errors=True)
    REFERENCE.mkdir(parents=True)
    rows = []
    for name, text in texts.items():
        file = name.replace(" ", "-") + ".md"
        REFERENCE.joinpath(file).write_text(f"# {name}\n\n```text\n{text.rstrip()}\n```\n")
        rows.append(f"| [`{name}`]({file}) | {summary(text)} |\n")
    index = "# Reference\n\nEach page is what the command prints for `--help`.\n\n"
    REFERENCE.joinpath("index.md").write_text(
        index + "| Command | What it does |\n|---|---|\n" + "".join(rows)
    )


if __name__ == "__main__":
    write(pages())
