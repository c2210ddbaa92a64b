"""Steps from one form of the ledger's tables to the next, for Alembic."""
