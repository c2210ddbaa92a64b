"""The dataset's README.md: a card that Hugging Face's `datasets` reads, and a person, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cohortflow.cells.split_file import Split

_TEXT = """---
configs:
- config_name: default
  data_files:
{files}tags:
- single-cell
- cell-sentences
---

# {name}

{cells:,} cells as sentences: the symbols of a cell's genes, the most expressed first, with a space
in between. A sentence has {top} genes at most; genes without expression never stand in it.

| | |
|---|---|
{rows}
## Columns

- `cell_id`: the cell's name in the source; `cell_sentence`: its genes.
- `age`, `age_low`, `age_high`, `age_unit`: from the stage of development; the age is at least
  `age_low` and below `age_high`. Empty where the stage names none.
- All other columns are those of the source's `obs`{renamed}.

Beside the data: `genes.tsv` (each gene of the source, its symbol, and how that was found),
`ages.tsv` (each stage of development), `split.json` (which donors or cells are test).

```python
from datasets import load_dataset

cells = load_dataset("FOLDER OR REPOSITORY")
```
"""


def text(
    name: str, provenance: Mapping[str, Any], split: Split, renamed: Mapping[str, str], test: bool
) -> str:
    """Return the card.

    Parameters
    ----------
    name : str
        The dataset's.
    provenance : mapping
        As the files' metadata has it.
    split : Split
    renamed : mapping of str to str
        Columns of obs that have another name, with that name.
    test : bool
        Whether there is a test part.
    """
    parts = ("train", "test") if test else ("train",)
    files = "".join(f"  - split: {part}\n    path: data/{part}-*.parquet\n" for part in parts)
    facts = {
        "Source": f"`{_cell(provenance['source'])}`, SHA-256 `{provenance['source_sha256']}`",
        "Matrix": f"`{_cell(provenance['matrix'])}`, {provenance['genes']:,} genes",
        "Order of genes": provenance["order"],
        "Train and test": _split(split),
        "Gene table": f"HGNC, SHA-256 begins with `{provenance.get('hgnc_sha256', 'unknown')}`",
        "Made by": f"cohortflow {provenance.get('version', '')}".strip(),
    }
    others = [f"`{_cell(own)}` is `{_cell(new)}`" for own, new in renamed.items()]
    return _TEXT.format(
        files=files,
        name=_cell(name),
        cells=provenance["cells"],
        top=provenance["top_genes"],
        rows="".join(f"| {term} | {fact} |\n" for term, fact in facts.items()),
        renamed="; " + ", ".join(others) if others else "",
    )


def _split(split: Split) -> str:
    if not split.test_cells:
        return f"all cells are train{': ' + _cell(split.note) if split.note else ''}"
    share = split.test_cells / split.cells
    return (
        f"by {split.by}, {split.test_cells:,} cells ({share:.2%}) are test, "
        f"{split.test_size:.2%} asked, seed {split.seed}"
        f"{': ' + _cell(split.note) if split.note else ''}"
    )


def _cell(value: object) -> str:
    """Return a text that cannot end a cell of a table or a piece of code."""
    quoted = json.dumps(str(value), ensure_ascii=False)[1:-1].replace("\\\\", "\\")
    return quoted.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
