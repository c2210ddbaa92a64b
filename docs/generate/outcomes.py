"""Write docs/outcomes.md: the table of outcomes as a page."""

from __future__ import annotations

from pathlib import Path

from cohortflow.core.outcome import OUTCOMES, Category, Policy

PAGE = Path(__file__).resolve().parent.parent / "outcomes.md"
TIMES = ("once", "twice", "three times")

BEFORE = """# How a step ends

Every tool ends with one of these exit statuses, and prints one line on stderr when it fails:
`ERROR CATEGORY unit message: what to do`. The same table decides what Nextflow does and what the
report says. A failure ends its unit, never the batch.

This page is made from the table in the program by `docs/generate/outcomes.py`.

| Exit status | Category | What it means | What Nextflow does | What to do |
|---|---|---|---|---|
| 0 | | The step is done. | goes on with the unit | |
"""

AFTER = """
*What to do* is the category's own advice; the message of a tool says more where it can.

- 64 means the same as 2, 70 the same as 1, 140 (Slurm) the same as 124 (our supervisor).
- 137 is OUT_OF_MEMORY when the supervisor saw the limit exceeded. Without that evidence somebody
  killed the step, and it is LOST.
- Ended by another signal, a step is INTERRUPTED, or SOFTWARE when the signal is that of a crash
  (a segmentation fault, for example). Any other status is SOFTWARE.
- A retry after 137 gets more memory: the step's limit times the number of the attempt.
- After the last retry the unit fails and the others go on. Data that was found DATA_INVALID is not
  tried again by later runs while nothing changed ([plan](plan.md)); every other failure is.

## Exit status of a run

| Status | `cohortflow run` | `nextflow run main.nf` |
|---|---|---|
| 0 | all units are done | all tasks are done |
| 1 | some units are not | some tasks are not |
| 2 | it was called in a wrong way | |
| 3 | nothing could run | |
| 130, 143 | stopped by a signal | stopped by a signal |
"""


def row(category: Category, policy: Policy) -> str:
    """Return a category's line of the table."""
    # Nextflow's own number for a task without a status is larger than any status.
    statuses = ", ".join(str(status) for status in sorted(policy.statuses) if status < 256)
    again = f"tries {TIMES[policy.retries - 1]} more, then " if policy.retries else ""
    stopped = category is Category.INTERRUPTED
    does = "was stopped, too" if stopped else f"{again}goes on without the unit"
    cells = (statuses or "none", category, policy.meaning, does, policy.remedy)
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    """Return the whole page."""
    return BEFORE + "".join(row(*outcome) for outcome in OUTCOMES.items()) + AFTER


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
