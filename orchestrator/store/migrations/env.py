"""How Alembic runs here: on the connection and within the transaction it is handed, never on one of its own."""

from alembic import context

from orchestrator.store.schema import VERSION_TABLE
from orchestrator.store.tables import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
