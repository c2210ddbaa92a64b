"""Commands of `cohortflow`, one a file; `main` adds them to the group."""
