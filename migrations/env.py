"""Run migrations on the database the app names, or on the one in the settings."""

from alembic import context

from keyscope.app import baskets  # noqa: F401 - imported for their tables, as are the four below
from keyscope.app.accounts import models as account_models  # noqa: F401
from keyscope.app.concepts import models as concept_models  # noqa: F401
from keyscope.app.database.base import Base
from keyscope.app.database.engine import database_url, make_engine
from keyscope.app.labels import team_models  # noqa: F401
from keyscope.app.live import models as live_models  # noqa: F401
from keyscope.app.settings import Settings


def run() -> None:
    """Run the migrations in one transaction."""
    url = context.config.attributes.get("url") or database_url(Settings().labels_url)
    engine = make_engine(url)
    with engine.connect() as connection:
        # SQLite cannot alter most of a table in place, so Alembic copies it.
        context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
