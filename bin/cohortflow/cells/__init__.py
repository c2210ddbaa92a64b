"""The cells lane: h5ad single-cell files to training-ready parquet."""
