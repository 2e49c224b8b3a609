"""Assignment against a model: all forms name one data source a schema, of that schema, or it is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.assignment import Asked, Candidate, Named, assigned
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError

SCHEMAS = ("shop", "desk")
IDS = ("d1", "d2", "d3")
CANDIDATES = st.dictionaries(
    st.sampled_from(IDS),
    st.tuples(
        st.sampled_from(SCHEMAS),
        st.booleans(),
        st.sampled_from(list(State)),
        st.frozensets(st.sampled_from(("a", "b"))),
    ),
).map(
    lambda found: tuple(
        Candidate(
            id=DataSourceId(id_),
            provided_id=f"p{id_}",
            schema=schema,
            dedicated=alone,
            state=state,
            holders=who,
        )
        for id_, (schema, alone, state, who) in found.items()
    )
)
NAMES = st.none() | st.sampled_from((*IDS, "d4"))
ASKED = st.builds(
    Asked,
    data_source_id=NAMES,
    data_source_provided_id=NAMES.map(lambda name: name and f"p{name}"),
    mapping=st.dictionaries(
        st.sampled_from(SCHEMAS),
        st.builds(Named, id=st.sampled_from(IDS))
        | st.builds(Named, provided_id=st.sampled_from(["pd1", "d1"])),
    ),
)


def named(asked: Asked) -> list[tuple[str | None, str | None]]:
    """(schema, id) of everything that is named; an id that nobody has is None."""
    by_provided = {f"p{id_}": id_ for id_ in IDS}
    found: list[tuple[str | None, str | None]] = []
    if asked.data_source_id is not None:
        found.append((None, asked.data_source_id))
    if asked.data_source_provided_id is not None:
        found.append((None, by_provided.get(asked.data_source_provided_id)))
    for schema, name in asked.mapping.items():
        found.append((schema, name.id if name.id is not None else by_provided.get(name.provided_id or "")))
    return found


@given(ASKED, CANDIDATES, st.sampled_from(("a", "b", None)))
def test_bindings_are_those_of_the_model_or_nothing(
    asked: Asked, candidates: tuple[Candidate, ...], customer: str | None
) -> None:
    known = {c.id: c for c in candidates}
    wanted = named(asked)
    try:
        bindings = assigned(asked, candidates, customer=customer)
    except RefusedError:
        bindings = None
    exist = all(id_ in known for _, id_ in wanted)
    right = exist and all(schema in {None, known[id_].schema} for schema, id_ in wanted)  # type: ignore[index]
    one = right and len({id_ for schema, id_ in wanted if schema is None}) < 2
    one = one and len({id_ for _, id_ in wanted}) == len({known[id_].schema for _, id_ in wanted})  # type: ignore[index]
    fit = one and all(
        known[id_].state is State.ACTIVE  # type: ignore[index]
        and not (known[id_].dedicated and known[id_].holders - {customer})  # type: ignore[index]
        for _, id_ in wanted
    )
    assert bindings == ({known[id_].schema: id_ for _, id_ in wanted} if fit else None)  # type: ignore[index]
