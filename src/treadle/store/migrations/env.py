"""Alembic's environment: it runs migrations in the transaction of the connection it is given."""

from alembic import context

from treadle.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
