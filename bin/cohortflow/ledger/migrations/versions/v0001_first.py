"""The first form of the ledger."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Frozen here: the models may change, a step that was released may not.
WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WHOLE = sa.BigInteger()
NUMBER: sa.Double[float] = sa.Double()
MOMENT = sa.DateTime(timezone=True)
VALUE = sa.JSON()
TRUTH = sa.Boolean()


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        *_columns(WORD, False, "output", "id", "lane", "dataset", "generated_by"),
        *_columns(WORD, True, "engine", "command"),
        *_columns(VALUE, False, "parameters", "code", "steps"),
        *_columns(MOMENT, True, "started", "finished"),
        *_columns(TRUTH, False, "interrupted"),
        *_columns(WHOLE, False, "to_run", "skipped", "invalid"),
        sa.PrimaryKeyConstraint("output", "id"),
    )
    op.create_table(
        "sources",
        *_columns(WORD, False, "output", "path"),
        *_columns(WHOLE, False, "bytes", "mtime_ns", "read"),
        *_columns(WORD, False, "tail"),
        sa.PrimaryKeyConstraint("output", "path"),
    )
    op.create_table(
        "units",
        *_columns(WORD, False, "output", "id", "folder"),
        *_columns(VALUE, False, "entities"),
        *_columns(WORD, True, "run"),
        *_columns(MOMENT, True, "run_started"),
        *_columns(WORD, True, "decision", "reason", "detail"),
        *_columns(WORD, False, "state"),
        *_columns(WORD, True, "category", "step", "message", "remedy", "published_run"),
        *_columns(MOMENT, True, "published"),
        *_columns(WORD, True, "pipeline_version"),
        *_columns(NUMBER, True, "seconds"),
        *_columns(WORD, True, "damage"),
        *_columns(WHOLE, True, "marker_bytes", "marker_mtime_ns"),
        sa.PrimaryKeyConstraint("output", "id"),
    )
    op.create_index("units_by_folder", "units", ["output", "folder"])
    op.create_index("units_by_state", "units", ["output", "state"])
    op.create_table(
        "events",
        *_columns(WORD, False, "output", "run", "unit", "step"),
        *_columns(WHOLE, False, "attempt"),
        *_columns(WORD, False, "kind"),
        *_columns(MOMENT, True, "at"),
        *_columns(WORD, True, "category", "message"),
        _belongs_to("runs", "run"),
        sa.PrimaryKeyConstraint("output", "run", "unit", "step", "attempt", "kind"),
    )
    op.create_index("events_by_unit", "events", ["output", "unit"])
    op.create_table(
        "files",
        *_columns(WORD, False, "output", "unit", "path"),
        *_columns(WHOLE, False, "bytes"),
        *_columns(WORD, False, "sha256"),
        _belongs_to("units", "unit"),
        sa.PrimaryKeyConstraint("output", "unit", "path"),
    )
    op.create_table(
        "metrics",
        *_columns(WORD, False, "output", "unit", "name"),
        *_columns(NUMBER, True, "number"),
        *_columns(WORD, True, "text"),
        _belongs_to("units", "unit"),
        sa.PrimaryKeyConstraint("output", "unit", "name"),
    )
    op.create_index("metrics_by_name", "metrics", ["output", "name"])
    op.create_table(
        "tasks",
        *_columns(WORD, False, "output", "run", "unit", "step"),
        *_columns(WHOLE, False, "attempt"),
        *_columns(WHOLE, True, "exit"),
        *_columns(WORD, True, "category"),
        *_columns(MOMENT, True, "started", "finished"),
        *_columns(NUMBER, True, "seconds"),
        *_columns(WHOLE, True, "peak_memory_bytes"),
        *_columns(WORD, True, "work", "command", "message", "remedy"),
        _belongs_to("runs", "run"),
        sa.PrimaryKeyConstraint("output", "run", "unit", "step", "attempt"),
    )
    op.create_index("tasks_by_unit", "tasks", ["output", "unit"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("tasks")
    op.drop_table("metrics")
    op.drop_table("files")
    op.drop_table("events")
    op.drop_table("units")
    op.drop_table("sources")
    op.drop_table("runs")


def _columns(kind: Any, nullable: bool, *names: str) -> list[sa.Column[Any]]:  # noqa: ANN401
    return [sa.Column(name, kind, nullable=nullable) for name in names]


def _belongs_to(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["output", column], [f"{table}.output", f"{table}.id"], ondelete="CASCADE"
    )
