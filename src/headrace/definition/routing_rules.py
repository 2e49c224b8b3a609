"""Checks of where rows go: groups, data sources, defaults, customers and their bindings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from headrace.definition.cycle import cycles
from headrace.definition.definitions import DEFAULT_CUSTOMER, Definitions
from headrace.definition.location import Location, location_of, url_fault
from headrace.definition.models import App, DataSource, StoreType
from headrace.definition.secrets import bare_name, secret_faults
from headrace.domain.routing import MAX_ANCESTORS
from headrace.domain.vocabulary import DataSourceId, ModelId, SourceId
from headrace.errors import Fault

CONTROL_URL = "HEADRACE_CONTROL_URL"
DEFAULT_CONTROL_URL = "sqlite:///.headrace/control.db"


def data_source_faults(definitions: Definitions) -> Iterator[Fault]:
    """Faults between data sources: ids, defaults, groups."""
    provided: dict[str, str] = {}
    defaults: dict[tuple[str, str], str] = {}
    for id_, found in sorted(definitions.data_sources.items()):
        file = definitions.file("data_sources", id_)
        other = provided.setdefault(found.provided_id, id_)
        if other != id_:
            message = f'data source {other} has the provided_id "{found.provided_id}" already; give another'
            yield Fault(file, "provided_id", message)
        for index, group in enumerate(found.default_for):
            path = f"default_for[{index}]"
            if found.isolation == "dedicated":
                message = "a dedicated data source serves one customer alone, and is nobody's default"
                yield Fault(file, path, f"{message}; remove it here, or make it shared")
            if group not in found.visibility_groups and group in definitions.visibility_groups:
                message = f"{group} is not among its visibility_groups; add it there, or remove it here"
                yield Fault(file, path, message)
            first = defaults.setdefault((group, found.schema_id), id_)
            if first != id_:
                message = (
                    f"data source {first} is the default of schema {found.schema_id} for {group} already"
                )
                yield Fault(file, path, f"{message}; keep one")


def url_faults(definitions: Definitions, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Faults of secrets and URLs, and databases that two definitions would share."""
    apps: dict[Location, str] = {}
    for id_, app in sorted(definitions.apps.items()):
        file = definitions.file("apps", id_)
        location, faults = _locate(file, app, environ)
        yield from faults
        if location:
            apps.setdefault(location, id_)
    control = location_of(environ.get(CONTROL_URL) or DEFAULT_CONTROL_URL)
    stores: dict[tuple[Location, str], str] = {}
    for store_id, found in sorted(definitions.data_sources.items()):
        file = definitions.file("data_sources", store_id)
        location, faults = _locate(file, found, environ)
        yield from faults
        yield from _read_url_faults(file, found, environ)
        if location:
            yield from _sharing_faults(
                file, store_id, found, location, apps=apps, control=control, stores=stores
            )


def _locate(
    file: str, body: App | DataSource, environ: Mapping[str, str]
) -> tuple[Location | None, list[Fault]]:
    wrong = secret_faults(body.url.template, environ)
    if name := bare_name(body.url.template):
        wrong = [f'"${name}" is no reference to a secret; write "${{{name}}}"']
    if not wrong:
        url = body.url.resolve(environ)
        unfit = url_fault(body.type, url)
        if not unfit:
            return location_of(url), []
        wrong = [unfit]
    return None, [Fault(file, "url", message) for message in wrong]


def _read_url_faults(file: str, found: DataSource, environ: Mapping[str, str]) -> Iterator[Fault]:
    if found.read_url is None:
        return
    if found.type is StoreType.SQLITE:
        yield Fault(file, "read_url", "SQLite has no roles; leave it out")
        return
    wrong = secret_faults(found.read_url.template, environ)
    if not wrong and (unfit := url_fault(found.type, found.read_url.resolve(environ))):
        wrong = [unfit]
    yield from (Fault(file, "read_url", message) for message in wrong)


def _sharing_faults(
    file: str,
    id_: str,
    found: DataSource,
    location: Location,
    *,
    apps: Mapping[Location, str],
    control: Location | None,
    stores: dict[tuple[Location, str], str],
) -> Iterator[Fault]:
    is_file = found.type is StoreType.SQLITE
    other = stores.setdefault((location, "" if is_file else found.namespace), id_)
    if other != id_ and is_file:
        yield Fault(file, "url", f"data source {other} has this file already; give another file")
    elif other != id_:
        message = f"data source {other} has this database and the namespace {found.namespace} already"
        yield Fault(file, "namespace", f"{message}; give another namespace")
    if is_file and location in apps:
        yield Fault(file, "url", f"app {apps[location]} reads from this file; give another file")
    if is_file and location == control:
        yield Fault(file, "url", "this file is the control database; give another file")


def customer_binding_faults(definitions: Definitions) -> Iterator[Fault]:
    """Faults of customers: ids, parents, and the data sources that they are bound to."""
    provided: dict[tuple[str, str], str] = {}
    dedicated: dict[DataSourceId, str] = {}
    namesakes: dict[tuple[DataSourceId, str], str] = {}
    for id_, customer in sorted(definitions.customers.items()):
        file = definitions.file("customers", id_)
        other = provided.setdefault((customer.visibility_group, customer.provided_id), id_)
        if other != id_:
            message = f'customer {other} has the provided_id "{customer.provided_id}" already; give another'
            yield Fault(file, "provided_id", message)
        parent = definitions.customers.get(customer.parent or "")
        if parent is not None and parent.visibility_group != customer.visibility_group:
            message = f"parent {customer.parent} is of visibility group {parent.visibility_group}, not"
            yield Fault(file, "parent", f"{message} {customer.visibility_group}; name one of the same group")
        yield from _binding_faults(definitions, id_, dedicated, namesakes)
    yield from _parent_cycles(definitions)
    yield from _depth_faults(definitions)


def _binding_faults(
    definitions: Definitions,
    id_: str,
    dedicated: dict[DataSourceId, str],
    namesakes: dict[tuple[DataSourceId, str], str],
) -> Iterator[Fault]:
    customer = definitions.customers[id_]
    for schema, name in customer.data_sources.items():
        found = definitions.data_sources.get(DataSourceId(name))
        if found is None:
            continue
        file, path = definitions.file("customers", id_), f"data_sources.{schema}"
        if found.schema_id != schema and schema in definitions.schemas:
            message = f"data source {name} is of schema {found.schema_id}, not {schema}"
            yield Fault(file, path, f"{message}; name one of that schema")
        if customer.visibility_group and customer.visibility_group not in found.visibility_groups:
            message = f"data source {name} does not serve visibility group {customer.visibility_group}"
            yield Fault(file, path, f"{message}; name one that does, or add the group to it")
        other = dedicated.setdefault(DataSourceId(name), id_) if found.isolation == "dedicated" else id_
        if other != id_:
            message = f"data source {name} is dedicated and serves customer {other} already"
            yield Fault(file, path, f"{message}; name another")
        same = namesakes.setdefault((DataSourceId(name), customer.provided_id), id_)
        if same != id_ and definitions.customers[same].visibility_group != customer.visibility_group:
            message = (
                f'data source {name} serves customer {same} with the provided_id "{customer.provided_id}"'
            )
            yield Fault(file, path, f"{message} already; name another, for their records would be one's")


def _depth_faults(definitions: Definitions) -> Iterator[Fault]:
    for id_ in sorted(definitions.customers):
        above: list[str] = []
        at = definitions.customers[id_].parent
        while at in definitions.customers and at not in above and at != id_:
            above.append(str(at))
            at = definitions.customers[str(at)].parent
        in_a_circle = at in above or at == id_
        if len(above) > MAX_ANCESTORS and not in_a_circle:
            message = f"more than {MAX_ANCESTORS} customers above it; name a parent higher up"
            yield Fault(definitions.file("customers", id_), "parent", message)


def _parent_cycles(definitions: Definitions) -> Iterator[Fault]:
    parents = {i: c.parent for i, c in definitions.customers.items() if c.parent}
    for cycle in cycles(parents):
        message = f"parents go round in a circle: {' -> '.join(cycle)}; remove one of them"
        yield Fault(definitions.file("customers", cycle[0]), "parent", message)


def unroutable_faults(definitions: Definitions) -> Iterator[Fault]:
    """One fault for each (schema, visibility group) in which rows of a source lead nowhere whatever the
    API or rows may add, or lead nowhere because their known customer has neither binding nor default."""
    said: set[tuple[str, str]] = set()
    for source_id, app_id in definitions.feeds():
        model = definitions.models.get(ModelId(definitions.sources[source_id].model))
        app = definitions.apps.get(app_id)
        if model is None or model.schema_id not in definitions.schemas or app is None:
            continue
        if (model.schema_id, app.visibility_group) in said:
            continue
        message = _leads_nowhere(definitions, source_id, model.schema_id, app.visibility_group)
        if message:
            said.add((model.schema_id, app.visibility_group))
            yield Fault(definitions.file("schemas", model.schema_id), "", message)


def _leads_nowhere(definitions: Definitions, source_id: SourceId, schema: str, group: str) -> str | None:
    serving = [
        d for d in definitions.data_sources.values() if d.schema_id == schema and group in d.visibility_groups
    ]
    if not serving:
        message = f"no data source of it serves visibility group {group}"
        return f"{message}, which source {source_id} is read in; add one"
    if any(group in d.default_for for d in serving):
        return None
    for app_id in definitions.sources[source_id].app_ids:
        customer = definitions.customer_of(source_id, app_id)
        ids = [
            i
            for i, c in definitions.customers.items()
            if c.provided_id == customer and c.visibility_group == group
        ]
        if customer is None or (not ids and customer != DEFAULT_CUSTOMER):
            continue  # rows or the API may bind it
        if not any(_bound(definitions, i, schema) for i in ids):
            message = f"it has no default data source for visibility group {group}, and customer {customer}"
            return (
                f'{message} of source {source_id} has no data source; add "default_for": ["{group}"] to one'
            )
    return None


def _bound(definitions: Definitions, customer_id: str, schema: str) -> bool:
    seen: set[str] = set()
    at: str | None = customer_id
    while at is not None and at in definitions.customers and at not in seen:
        if schema in definitions.customers[at].data_sources:
            return True
        seen.add(at)
        at = definitions.customers[at].parent
    return False
