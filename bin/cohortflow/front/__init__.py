"""The front door: what `cohortflow` does around Nextflow."""
