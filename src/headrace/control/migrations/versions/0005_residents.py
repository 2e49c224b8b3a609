"""Where customers reside who had rows before control noted it.

Which customers have rows in a data source was not kept: all that led to one that was written to are taken
to. Those of one `provided_id` in several visibility groups are left out, since nobody can tell whose the rows
are; they reside where their next row goes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_INTO = "INSERT INTO residence (customer_id, schema, data_source_id, provided_id)"
_LACKS = "NOT EXISTS (SELECT 1 FROM residence r WHERE r.customer_id = c.id AND r.schema = {0}.schema)"
_UNBOUND = "NOT EXISTS (SELECT 1 FROM binding b WHERE b.customer_id = c.id AND b.schema = {0}.schema)"
_ALONE = "NOT EXISTS (SELECT 1 FROM customer n WHERE n.provided_id = c.provided_id AND n.id <> c.id)"
_WRITTEN = "{0}.data_source_id IN (SELECT data_source_id FROM feed_log)"

_BOUND = f"""
{_INTO} SELECT c.id, o.schema, o.data_source_id, c.provided_id
FROM binding o JOIN customer c ON c.id = o.customer_id
WHERE {_WRITTEN.format("o")} AND {_LACKS.format("o")} AND {_ALONE}
"""
_BELOW = f"""
{_INTO} SELECT c.id, above.schema, above.data_source_id, c.provided_id
FROM customer c
JOIN customer p ON p.id = c.parent_id AND p.visibility_group = c.visibility_group
JOIN residence above ON above.customer_id = p.id
WHERE {_LACKS.format("above")} AND {_UNBOUND.format("above")} AND {_ALONE}
"""
_DEFAULT = f"""
{_INTO} SELECT c.id, d.schema, d.data_source_id, c.provided_id
FROM customer c JOIN default_data_source d ON d.visibility_group = c.visibility_group
WHERE c.parent_id IS NULL AND {_WRITTEN.format("d")} AND {_LACKS.format("d")} AND {_UNBOUND.format("d")}
  AND {_ALONE}
"""
_PIN = f"""
INSERT INTO binding (customer_id, schema, data_source_id, origin)
SELECT c.id, home.schema, home.data_source_id, 'pinned_default'
FROM residence home JOIN customer c ON c.id = home.customer_id
WHERE c.parent_id IS NULL AND {_UNBOUND.format("home")}
"""
_LEVELS_OF_PARENTS = 3


def upgrade() -> None:
    for statement in (_BOUND, *[_BELOW] * _LEVELS_OF_PARENTS, _DEFAULT, _PIN):
        op.execute(sa.text(statement))
