"""The ledger's tables.

Every row belongs to one output folder (column ``output``), and is made from files below it alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

#: Text that both databases order by code points, whatever the locale of the server.
Word = Text().with_variant(Text(collation="C"), "postgresql")


class Moment(TypeDecorator[datetime]):
    """A point in time, always UTC; SQLite knows no zones, so none is stored there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the driver gets."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Maps Python types to column types."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own convention
        str: Word,
        int: BigInteger,
        float: Double,
        datetime: Moment,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


class Run(Base):
    """One call of the pipeline."""

    __tablename__ = "runs"

    output: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    lane: Mapped[str]
    dataset: Mapped[str]
    generated_by: Mapped[str]
    engine: Mapped[str | None]
    command: Mapped[str | None]
    parameters: Mapped[dict[str, Any]]
    code: Mapped[dict[str, Any]]
    steps: Mapped[list[str]]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    interrupted: Mapped[bool]
    to_run: Mapped[int]
    skipped: Mapped[int]
    invalid: Mapped[int]


class Unit(Base):
    """Where a unit stands: the last run that planned it, and what is published.

    ``state`` is ``waiting``, ``running``, ``done``, ``invalid``, ``failed``, ``interrupted``,
    ``lost`` or ``missing``; ``done`` means that its published files are current.
    """

    __tablename__ = "units"

    output: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    folder: Mapped[str]
    entities: Mapped[dict[str, Any]]
    run: Mapped[str | None]
    run_started: Mapped[datetime | None]
    decision: Mapped[str | None]
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    state: Mapped[str]
    category: Mapped[str | None]
    step: Mapped[str | None]
    message: Mapped[str | None]
    remedy: Mapped[str | None]
    published_run: Mapped[str | None]
    published: Mapped[datetime | None]
    pipeline_version: Mapped[str | None]
    seconds: Mapped[float | None]
    damage: Mapped[str | None]
    marker_bytes: Mapped[int | None]
    marker_mtime_ns: Mapped[int | None]

    __table_args__ = (
        Index("units_by_state", "output", "state"),
        Index("units_by_folder", "output", "folder"),
    )


class Task(Base):
    """One attempt of one step."""

    __tablename__ = "tasks"

    output: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    exit: Mapped[int | None]
    category: Mapped[str | None]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None]
    work: Mapped[str | None]
    command: Mapped[str | None]
    message: Mapped[str | None]
    remedy: Mapped[str | None]

    __table_args__ = (
        ForeignKeyConstraint(["output", "run"], ["runs.output", "runs.id"], ondelete="CASCADE"),
        Index("tasks_by_unit", "output", "unit"),
    )


class File(Base):
    """A published file, as the unit's marker lists it."""

    __tablename__ = "files"

    output: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int]
    sha256: Mapped[str]

    __table_args__ = (
        ForeignKeyConstraint(["output", "unit"], ["units.output", "units.id"], ondelete="CASCADE"),
    )


class Metric(Base):
    """A published metric: a number, a text, or neither when it is unknown."""

    __tablename__ = "metrics"

    output: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[float | None]
    text: Mapped[str | None]

    __table_args__ = (
        ForeignKeyConstraint(["output", "unit"], ["units.output", "units.id"], ondelete="CASCADE"),
        Index("metrics_by_name", "output", "name"),
    )


class Event(Base):
    """Something that happened in a run.

    ``kind`` is ``run started``, ``run finished``, ``run interrupted``, ``planned`` (of a unit that
    runs or cannot run), ``task started``, ``task ended`` or ``task failed``; ``unit`` and ``step``
    are empty and ``attempt`` is 0 where they have no meaning.
    """

    __tablename__ = "events"

    output: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime | None]
    category: Mapped[str | None]
    message: Mapped[str | None]

    __table_args__ = (
        ForeignKeyConstraint(["output", "run"], ["runs.output", "runs.id"], ondelete="CASCADE"),
        Index("events_by_unit", "output", "unit"),
    )


class Source(Base):
    """How far a file was read, so that the next look takes only what is new."""

    __tablename__ = "sources"

    output: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int]
    mtime_ns: Mapped[int]
    read: Mapped[int]
    tail: Mapped[str]
