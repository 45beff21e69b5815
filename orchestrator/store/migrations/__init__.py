"""Alembic's migrations of the lab's database, shipped with the package and run by `orchestrator.store.schema`."""
