"""What a person writes in `config/<kind>/<id>.json`, but for sources (`source.py`).

Each kind's object is frozen and refuses unknown keys. What only other files can tell (does that app
exist?) is checked by `references`, `property_graph` and `routing_rules`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from headrace.definition.secrets import SecretText
from headrace.definition.values import Body, Id, Namespace, Text, TopBody

__all__ = [
    "App",
    "AppType",
    "Body",
    "Customer",
    "DataSource",
    "Model",
    "Schema",
    "StoreType",
    "VisibilityGroup",
]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class AppType(StrEnum):
    POSTGRES = "postgres"
    MYSQL = "mysql"
    SQLITE = "sqlite"
    FILES = "files"


class StoreType(StrEnum):
    POSTGRES = "postgres"
    SQLITE = "sqlite"


Url = Annotated[
    SecretText,
    Field(description='The URL of the database; secrets only as "${NAME}" or "${file:/path}".'),
]
AppUrl = Annotated[
    SecretText,
    Field(
        description="The URL of the database or directory: postgresql://…, mysql://…, mariadb://…,"
        " sqlite:///path (relative to the current directory; four slashes before an absolute path) or"
        ' file:///directory (file://./directory is relative); secrets only as "${NAME}" or "${file:/path}".'
    ),
]
Name = Annotated[Text, Field(description="What people call it.")]
ImpliedGroup = Annotated[
    Id | Literal[""],
    Field(
        description="The visibility group it belongs to; implied when there is only one.",
        json_schema_extra=_without_default,
    ),
]
"""Never empty once `load` has returned."""


class App(TopBody):
    """A connection that rows are read from."""

    name: Name
    type: Annotated[
        AppType,
        Field(description="What it is: mysql is MariaDB too, files a directory of CSV and Parquet files."),
    ]
    url: AppUrl
    customer: Annotated[
        Text | None,
        Field(
            description="The default customer of its rows; absent: the customer default, made on first use."
        ),
    ] = None
    visibility_group: ImpliedGroup = ""


class Schema(TopBody):
    """A folder of data sources that share the same models."""

    name: Name


class VisibilityGroup(TopBody):
    """An environment: its data sources, customers and tokens."""

    name: Name


class DataSource(TopBody):
    """A database in which merged records live."""

    nickname: Annotated[Text, Field(description="What people call it.")]
    provided_id: Annotated[
        Text | Literal[""],
        Field(
            description="Its id in your own systems; absent: the file's name.",
            json_schema_extra=_without_default,
        ),
    ] = ""
    schema_id: Annotated[Id, Field(alias="schema", description="The schema whose models it holds.")]
    visibility_groups: Annotated[
        tuple[Id, ...],
        Field(
            description="The visibility groups that may use it; implied when there is only one.",
            json_schema_extra=_without_default,
        ),
    ] = ()
    default_for: Annotated[
        tuple[Id, ...],
        Field(description="The visibility groups whose customers without a binding it serves."),
    ] = ()
    type: Annotated[StoreType, Field(description="What kind of database it is.")]
    url: Url
    read_url: Annotated[
        SecretText | None,
        Field(
            description="The URL of the same database for a role that only reads, with which the API"
            " reads. PostgreSQL only."
        ),
    ] = None
    namespace: Annotated[
        Namespace, Field(description="The PostgreSQL schema of its tables; SQLite has none.")
    ] = "headrace"
    isolation: Annotated[
        Literal["shared", "dedicated"],
        Field(description="dedicated: it serves one customer alone (and those below it)."),
    ] = "shared"
    events: Annotated[
        StrictBool,
        Field(description="An event for each record that changes goes to a broker and to webhooks."),
    ] = False


class Customer(TopBody):
    """A tenant, and the data source that it is bound to in each schema."""

    name: Name
    provided_id: Annotated[
        Text | Literal[""],
        Field(
            description="Its id in your own systems and in rows; absent: the file's name.",
            json_schema_extra=_without_default,
        ),
    ] = ""
    visibility_group: ImpliedGroup = ""
    parent: Annotated[Id | None, Field(description="The customer whose bindings it inherits.")] = None
    data_sources: Annotated[
        dict[Id, Id], Field(description='The data source it is bound to, by schema: {"shop": "initech"}.')
    ] = Field(default_factory=dict)


class Model(TopBody):
    """A kind of record."""

    name: Name
    schema_id: Annotated[Id, Field(alias="schema", description="The schema it belongs to.")]
