"""Assignment: the forms of naming data sources, and every refusal."""

from __future__ import annotations

import pytest

from headrace.domain.assignment import Asked, Candidate, Named, assigned, refuse_other_mapping
from headrace.domain.refusal import Refusal
from headrace.domain.routing import State
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError

EU = Candidate(id=DataSourceId("eu"), provided_id="eu-1", schema="shop")
US = Candidate(id=DataSourceId("us"), provided_id="us-1", schema="shop")
HELP = Candidate(id=DataSourceId("help"), provided_id="help-1", schema="desk")
OWN = Candidate(
    id=DataSourceId("own"), provided_id="own-1", schema="shop", dedicated=True, holders=frozenset({"acme"})
)
OLD = Candidate(id=DataSourceId("old"), provided_id="old-1", schema="shop", state=State.DRAINING)
ALL = (EU, US, HELP, OWN, OLD)


@pytest.mark.parametrize(
    ("asked", "bindings"),
    [
        (Asked(), {}),
        (Asked(data_source_id="eu"), {"shop": "eu"}),
        (Asked(data_source_provided_id="eu-1"), {"shop": "eu"}),
        (Asked(mapping={"shop": Named(id="eu")}), {"shop": "eu"}),
        (Asked(mapping={"shop": Named(provided_id="eu-1")}), {"shop": "eu"}),
        (Asked(mapping={"shop": Named(id="eu", provided_id="eu-1")}), {"shop": "eu"}),
        (Asked(mapping={"shop": Named(id="eu"), "desk": Named(id="help")}), {"shop": "eu", "desk": "help"}),
        (
            Asked(data_source_id="eu", data_source_provided_id="eu-1", mapping={"shop": Named(id="eu")}),
            {"shop": "eu"},
        ),
        (
            Asked(data_source_id="eu", mapping={"desk": Named(id="help")}),
            {"shop": "eu", "desk": "help"},
        ),
    ],
)
def test_every_form_names_the_same_bindings(asked: Asked, bindings: dict[str, str]) -> None:
    assert assigned(asked, ALL) == bindings


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked(data_source_id="none"), Refusal.NOT_FOUND),
        (Asked(data_source_id="eu-1"), Refusal.NOT_FOUND),
        (Asked(data_source_provided_id="eu"), Refusal.NOT_FOUND),
        (Asked(mapping={"shop": Named(id="none")}), Refusal.NOT_FOUND),
        (Asked(mapping={"shop": Named(id="eu", provided_id="none")}), Refusal.NOT_FOUND),
        (Asked(mapping={"shop": Named(id="eu", provided_id="us-1")}), Refusal.DATA_SOURCE_CONFLICT),
        (Asked(data_source_id="eu", data_source_provided_id="us-1"), Refusal.DATA_SOURCE_CONFLICT),
        (Asked(data_source_id="eu", data_source_provided_id="help-1"), Refusal.DATA_SOURCE_CONFLICT),
        (Asked(data_source_id="eu", mapping={"shop": Named(id="us")}), Refusal.DATA_SOURCE_CONFLICT),
        (Asked(mapping={"desk": Named(id="eu")}), Refusal.DATA_SOURCE_UNFIT),
        (Asked(mapping={"unknown": Named(id="eu")}), Refusal.DATA_SOURCE_UNFIT),
        (Asked(data_source_id="old"), Refusal.DATA_SOURCE_UNFIT),
        (Asked(data_source_id="own"), Refusal.DATA_SOURCE_DEDICATED),
    ],
)
def test_what_is_wrong_is_refused_and_never_replaced(asked: Asked, code: Refusal) -> None:
    with pytest.raises(RefusedError) as refused:
        assigned(asked, ALL)
    assert refused.value.code == code


def test_a_data_source_of_another_group_is_refused_as_if_it_did_not_exist() -> None:
    told = []
    for candidates in (ALL, [c for c in ALL if c is not EU]):
        with pytest.raises(RefusedError) as refused:
            assigned(Asked(data_source_id="us2" if candidates is ALL else "eu"), candidates)
        told.append((refused.value.code, refused.value.detail, refused.value.members))
    assert told[0] == told[1]


def test_a_dedicated_data_source_takes_the_customer_that_it_serves() -> None:
    assert assigned(Asked(data_source_id="own"), ALL, customer="acme") == {"shop": "own"}


def test_who_is_bound_to_a_draining_data_source_may_say_so_again() -> None:
    bound = {"shop": DataSourceId("old")}
    assert assigned(Asked(data_source_id="old"), ALL, customer="acme", bound=bound) == bound


def test_a_customer_that_exists_is_what_was_asked_for_or_it_is_refused() -> None:
    bound = {"shop": DataSourceId("eu"), "desk": DataSourceId("help")}
    refuse_other_mapping({}, bound)
    refuse_other_mapping({"shop": DataSourceId("eu")}, bound)
    for asked in ({"shop": DataSourceId("us")}, {"crm": DataSourceId("crm")}):
        with pytest.raises(RefusedError) as refused:
            refuse_other_mapping(asked, bound)
        assert refused.value.code == Refusal.CUSTOMER_EXISTS
