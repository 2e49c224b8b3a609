"""What the role for reading may do in a PostgreSQL data source, and which rows it sees.

Row-level security is defence in depth behind the condition that every read has anyway. It is not forced: the
owner, who merges, sees all rows. Whoever runs SQL of their own as that role can set the customer themselves
(tests/integration/test_reading_role.py shows each way out).
*Source:* PostgreSQL's manual, "Row Security Policies": policies that restrict are ANDed to those that permit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import CUSTOMER
from headrace.errors import ConfigurationError, ErrorCode
from headrace.ports import TableChange
from headrace.stores.dialect import Binds, Session
from headrace.stores.layout import IDENTITY, MOVED

CUSTOMER_SETTING: Final = "headrace.customer"
"""What policies compare rows with; set for one transaction at a time."""

_EVERYBODY: Final = "headrace_everybody"
_READER: Final = "headrace_reader"

_NAMESPACE: Final = """
SELECT has_schema_privilege(r.oid, n.oid, 'USAGE')
FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = {namespace} WHERE r.rolname = {role}
"""
_TABLE: Final = f"""
SELECT has_table_privilege(r.oid, c.oid, 'SELECT'), c.relrowsecurity,
       EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = '{_EVERYBODY}'),
       ARRAY(SELECT o.rolname::text FROM pg_policy p JOIN pg_roles o ON o.oid = ANY (p.polroles)
             WHERE p.polrelid = c.oid AND p.polname = '{_READER}'),
       EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = '{_READER}')
FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname = {{role}} AND n.nspname = {{namespace}} AND c.relname = {{table}} AND c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True, slots=True)
class Right:
    """Something that the role lacks, in words, and the statements that give it."""

    change: TableChange
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingRole:
    """The role of a data source's `read_url`. `sees_one_customer`: the data source is shared."""

    name: str
    namespace: str
    sees_one_customer: bool

    def lacking(self, session: Session, models: Sequence[ModelShape]) -> list[Right]:
        """What the role lacks; of tables that are not there nothing.

        Raises:
            ConfigurationError: there is no such role.
        """
        found = self._lacking_usage(session)
        tables = {IDENTITY: None, MOVED: "customer"} | {model.id: CUSTOMER for model in models}
        for table, column in tables.items():
            statements = self._lacking_of(session, table, column)
            if statements:
                found.append(Right(TableChange(table, f"let role {self.name} read"), tuple(statements)))
        return found

    def _lacking_usage(self, session: Session) -> list[Right]:
        binds = Binds(session.dialect)
        asked = _NAMESPACE.format(role=binds.text(self.name), namespace=binds.text(self.namespace))
        rows = session.all(asked, binds)
        if not rows:
            raise ConfigurationError(
                f"there is no role {self.name}, which read_url names: CREATE ROLE it, with LOGIN, first",
                code=ErrorCode.STORE_MISCONFIGURED,
            )
        if rows[0][0] is not False:
            return []
        q = session.dialect.quote
        grant = f"GRANT USAGE ON SCHEMA {q(self.namespace)} TO {q(self.name)}"
        return [Right(TableChange(self.namespace, f"let role {self.name} use it"), (grant,))]

    def _lacking_of(self, session: Session, table: str, column: str | None) -> list[str]:
        binds = Binds(session.dialect)
        names = {"role": self.name, "namespace": self.namespace, "table": table}
        rows = session.all(_TABLE.format(**{n: binds.text(v) for n, v in names.items()}), binds)
        if not rows:
            return []
        may_read, secured, everybody, restricted, has_reader = rows[0]
        q, written = session.dialect.quote, session.dialect.table(table)
        statements = [] if may_read else [f"GRANT SELECT ON {written} TO {q(self.name)}"]
        if column is None or not self.sees_one_customer:
            return statements
        if not everybody:
            statements.append(f"CREATE POLICY {_EVERYBODY} ON {written} USING (true) WITH CHECK (true)")
        if restricted != [self.name]:
            statements += [
                f"REVOKE SELECT ON {written} FROM {q(former)}" for former in restricted if former != self.name
            ]
            statements += [f"DROP POLICY {_READER} ON {written}"] if has_reader else []
            # nullif: once it was set in a session it is '', and not null, where it is not set.
            own = f"{q(column)} = nullif(current_setting('{CUSTOMER_SETTING}', true), '')"
            whom = f"AS RESTRICTIVE FOR SELECT TO {q(self.name)}"
            statements.append(f"CREATE POLICY {_READER} ON {written} {whom} USING ({own})")
        if not secured:
            statements.append(f"ALTER TABLE {written} ENABLE ROW LEVEL SECURITY")
        return statements
