"""The `cohortflow` command: one module in `commands/` for each word that it takes."""

from __future__ import annotations

import click

from cohortflow import __version__, cli
from cohortflow.commands import (
    doctor,
    example,
    history,
    import_csttool,
    lanes,
    ledger,
    plan,
    report,
    run,
    status,
    verify,
    why,
)

COMMANDS = (
    *(run, plan, why, report, status, history, ledger),
    *(verify, import_csttool, doctor, example, lanes),
)


@click.group(
    cls=cli.OneLineGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n"
    "  cohortflow example dwi demo/study\n"
    "  cohortflow run dwi demo/study demo/out",
)
@click.version_option(__version__)
def main() -> None:
    """Run every unit of a study: discover, validate, process, publish, report."""


for module in COMMANDS:
    main.add_command(module.command)
