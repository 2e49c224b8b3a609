from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.domain.shape import ModelShape
from headrace.domain.vocabulary import AppId, DataSourceId, ModelId, SourceId
from headrace.errors import ConfigurationError
from headrace.steps.catalogue import AppliedCatalogue, catalogue_of

BODIES = {
    ("apps", "shop_db"): {"name": "Shop", "url": "${SHOP_URL}"},
    ("data_sources", "main"): {"schema": "shop"},
    ("data_sources", "initech"): {"schema": "shop"},
    ("data_sources", "other"): {"schema": "desk"},
    ("models", "users"): {"schema": "shop"},
    ("models", "tickets"): {"schema": "desk"},
}
CATALOGUE = AppliedCatalogue(
    version=1,
    plans={},
    models={
        ModelId(name): ModelShape(id=ModelId(name), key=(), columns=(), sources=())
        for name in ("users", "tickets")
    },
    bodies=BODIES,
    contracts={},
)


def test_a_data_source_is_a_target_of_the_models_of_its_schema_alone() -> None:
    assert CATALOGUE.targets() == [("initech", "users"), ("main", "users"), ("other", "tickets")]


def test_definitions_are_given_as_written() -> None:
    assert CATALOGUE.app(AppId("shop_db")) == {"name": "Shop", "url": "${SHOP_URL}"}
    assert CATALOGUE.data_source(DataSourceId("main")) == {"schema": "shop"}


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: CATALOGUE.app(AppId("no")), "app no is not applied"),
        (lambda: CATALOGUE.data_source(DataSourceId("no")), "data source no is not applied"),
        (lambda: CATALOGUE.model(ModelId("no")), "model no is not applied"),
        (
            lambda: CATALOGUE.feed(SourceId("no"), AppId("shop_db")),
            r"source no \(app shop_db\) is not applied",
        ),
    ],
)
def test_what_is_not_applied_is_told_with_what_to_run(ask: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{told}; run `headrace apply`"):
        ask()


def test_what_another_version_published_is_to_be_applied_again() -> None:
    with pytest.raises(ConfigurationError, match="another version of Headrace"):
        catalogue_of(1, '{"models": 3}', BODIES)
