"""cohortflow: every unit of a study through small tools, chained by Nextflow."""

__version__ = "0.1.0"
