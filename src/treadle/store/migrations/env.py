"""How Alembic runs the migrations: on the connection, and in the transaction, it is handed."""

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
