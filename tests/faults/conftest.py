"""The small studies of the pipeline's tests serve here, too."""

from pipeline.conftest import copied, finished, make_study, scan

__all__ = ["copied", "finished", "make_study", "scan"]
