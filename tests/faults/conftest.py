"""The small studies of the pipeline's tests serve here, too."""

from pipeline.conftest import make_study, scan

__all__ = ["make_study", "scan"]
