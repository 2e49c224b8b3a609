"""Alembic's entry: runs the migrations on the connection and in the transaction of `schema.upgrade`."""

from alembic import context

from headrace.control.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
