"""Nextflow's last words become one line where the cause is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortflow.front import words

WORK = Path("/scratch/work")
REFUSED = """ERROR ~ Error executing process > 'CORE_PROBE (does a node see it?)'
Caused by:
  Failed to submit process to grid scheduler for execution
Command executed:
  sbatch .command.run
Command exit status:
  1
Command output:
  sbatch: error: invalid partition specified: nope
  sbatch: error: Batch job submission failed: Invalid partition name specified
"""
UNSEEN = """ERROR ~ Error executing process > 'CORE_PROBE (does a node see it?)'
Caused by:
  Process `CORE_PROBE` terminated for an unknown reason -- Likely it has been terminated
"""
NO_TOOL = """ERROR ~ Error executing process > 'CORE_PROBE (does a node see it?)'
Command exit status:
  127
Command error:
  env: 'core-supervise': No such file or directory
"""
LACKS = """ERROR ~ Error executing process > 'CORE_PROBE (does a node see it?)'
Command exit status:
  78
Command error:
  ERROR CONFIG - the machine n1 has no DIPY: install it
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            REFUSED,
            "ERROR CONFIG - the scheduler refuses a task: sbatch: error: invalid partition "
            "specified: nope; sbatch: error: Batch job submission failed: Invalid partition name "
            "specified: correct the queue, the account or the limits of the profile",
        ),
        (
            UNSEEN,
            "ERROR CONFIG - no node of the cluster sees the work folder /scratch/work: choose one "
            "that all nodes share with --work-dir",
        ),
        (
            NO_TOOL,
            "ERROR CONFIG - a node of the cluster does not find the tools or their Python: env: "
            "'core-supervise': No such file or directory: install cohortflow in a folder that all "
            "nodes see, or use a container profile",
        ),
        (
            NO_TOOL.replace("127", "125").replace(
                "env: 'core-supervise': No such file or directory",
                "Error: localhost/x:1: image not known",
            ),
            "ERROR CONFIG - a node of the cluster cannot start the container: Error: "
            "localhost/x:1: image not known: install the runtime and load the image on every node",
        ),
        (
            NO_TOOL.replace(
                "env: 'core-supervise': No such file or directory",
                ".command.run: line 9: podman: command not found",
            ),
            "ERROR CONFIG - a node of the cluster cannot start the container: .command.run: line "
            "9: podman: command not found: install the runtime and load the image on every node",
        ),
        (LACKS, "ERROR CONFIG - the machine n1 has no DIPY: install it"),
    ],
)
def test_a_known_cause_is_one_line(text: str, line: str) -> None:
    assert words.why(text.splitlines(), WORK) == line


def test_an_unknown_cause_is_nextflows_last_words() -> None:
    lines = [f"line {n}" for n in range(20)]
    assert words.why(lines, WORK).splitlines() == lines[-12:]
    vanished = UNSEEN.replace("CORE_PROBE", "CORE_PLAN")
    assert words.why(vanished.splitlines(), WORK) == vanished.rstrip("\n")
