"""What Alembic runs: the steps, on the connection that `cohortflow.ledger.schema` hands over."""

from __future__ import annotations

from alembic import context

from cohortflow.ledger.models import Base
from cohortflow.ledger.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
