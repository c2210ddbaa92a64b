"""Write cells to parquet files of bounded size, row group by row group.

The files of one part are named ``train-00000-of-00003.parquet`` and so on, as Hugging Face's
`datasets` reads them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cohortflow.core.outcome import Category, Failure

#: Cells of a row group: what a reader has to decompress at once.
GROUP_CELLS = 1000
#: A file that has reached this size is ended.
SHARD_BYTES = 500_000_000
# Methods that have levels, and the highest.
_WITH_LEVELS = {"zstd": 22, "gzip": 9, "brotli": 11}
# No cell's sentence is like another's: a dictionary and minima would cost time and gain nothing.
_LARGE = {"cell_sentence", "gene_ids"}


@dataclass(frozen=True)
class Form:
    """How parquet is written.

    Attributes
    ----------
    compression : str
        As pyarrow names it; ``none`` leaves it out.
    level : int or None
        Of the compression, where it has levels; None is the method's own.
    shard_bytes : int
    """

    compression: str = "zstd"
    level: int | None = 3
    shard_bytes: int = SHARD_BYTES


def form(compression: str, level: int) -> Form:
    """Return how parquet is written, when the compression has such a level (or has none).

    Raises
    ------
    Failure
        USAGE when the level is too high for it.
    """
    highest = _WITH_LEVELS.get(compression, level)
    if level > highest:
        raise Failure(
            Category.USAGE,
            f"{compression} has no level {level}",
            f"give a --compression-level from 1 to {highest}",
        )
    return Form(compression, level)


@dataclass
class Part:
    """The files of one part of a dataset while they are written.

    Attributes
    ----------
    folder : Path
    name : str
        ``train`` or ``test``.
    schema : pyarrow.Schema
        With the metadata that each file is to carry.
    form : Form
    cells : int
        Written so far, waiting ones included.
    """

    folder: Path
    name: str
    schema: pa.Schema
    form: Form
    cells: int = 0
    _waiting: list[pa.RecordBatch] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)
    _sink: pa.NativeFile | None = None
    _writer: pq.ParquetWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add some cells; whole row groups are written."""
        if batch.num_rows:
            self.cells += batch.num_rows
            self._waiting.append(batch)
            if sum(one.num_rows for one in self._waiting) >= GROUP_CELLS:
                self._write(all_of_them=False)

    def end_chunk(self) -> None:
        """End the file when it is large enough: a chunk's cells stand in one file."""
        if self._sink is not None and self._sink.tell() >= self.form.shard_bytes:
            self._write(all_of_them=True)
            self.close()

    def close(self) -> None:
        """Write what waits, and end the file that is open."""
        self._write(all_of_them=True)
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
        self._writer = self._sink = None

    def abandon(self) -> None:
        """Let go of the open file, whatever state it is in."""
        if self._sink is not None:
            self._sink.close()
        self._writer = self._sink = None

    def named(self) -> list[Path]:
        """Give the files their final names, which tell how many there are."""
        count = len(self._files)
        return [
            path.rename(self.folder / f"{self.name}-{number:05d}-of-{count:05d}.parquet")
            for number, path in enumerate(self._files)
        ]

    def _write(self, *, all_of_them: bool) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting, self.schema)
        whole = table.num_rows if all_of_them else table.num_rows // GROUP_CELLS * GROUP_CELLS
        if self._writer is None:
            self._open()
        assert self._writer is not None  # noqa: S101 - for the type checker
        self._writer.write_table(table.slice(0, whole), GROUP_CELLS)
        self._waiting = table.slice(whole).to_batches()

    def _open(self) -> None:
        path = self.folder / f"{self.name}-{len(self._files):05d}.part"
        self._files.append(path)
        self._sink = pa.OSFile(str(path), "wb")
        small = [name for name in self.schema.names if name not in _LARGE]
        none = self.form.compression == "none"
        self._writer = pq.ParquetWriter(
            self._sink,
            self.schema,
            compression="NONE" if none else self.form.compression,
            compression_level=self.form.level if self.form.compression in _WITH_LEVELS else None,
            use_dictionary=small,
            write_statistics=small,
        )


@contextmanager
def writing(*parts: Part) -> Iterator[None]:
    """Close the parts when the block ends well, and let go of them when it does not.

    Raises
    ------
    OSError
        When a file cannot be written, with the operating system's number.
    """
    try:
        yield
        for part in parts:
            part.close()
    except pa.ArrowException as error:  # some versions hide the system's error in their own
        raise OSError(errno.EIO, str(error), str(parts[0].folder)) from error
    finally:
        for part in parts:
            part.abandon()
