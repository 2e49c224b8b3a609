"""Random assignments, defaults, parents, first rows, moves, deletions and queries against a small model:
every customer is led where the model says, and nobody ever away from records."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from headrace.domain.refusal import Refusal
from headrace.domain.vocabulary import DataSourceId
from headrace.errors import RefusedError
from tests.conformance.control.project import Control
from tests.conformance.control.tenancy import ACTOR, PRODUCTION, Tenancy, data_source_body

NAMES = st.sampled_from(["a", "b", "c", "d"])
IDS = st.sampled_from(["d1", "d2", "alone"])
MAYBE = st.none() | IDS
BODIES: dict[tuple[str, str], Any] = {
    ("visibility_groups", PRODUCTION): {"name": "Production"},
    ("schemas", "shop"): {"name": "Shop"},
    ("models", "users"): {"name": "Users", "schema": "shop"},
    ("data_sources", "d1"): data_source_body("shop", [PRODUCTION]),
    ("data_sources", "d2"): data_source_body("shop", [PRODUCTION]),
    ("data_sources", "alone"): data_source_body("shop", [PRODUCTION], isolation="dedicated"),
}
EMPTY = (
    *(
        "DELETE FROM move",
        "DELETE FROM left_behind",
        "DELETE FROM residence",
        "DELETE FROM binding",
        "UPDATE customer SET parent_id = NULL",
    ),
    *("DELETE FROM customer", "DELETE FROM default_data_source", "UPDATE data_source SET state = 'active'"),
)


@dataclass
class Model:
    """What the specification says: of each customer its parent, its binding, and where its records are."""

    parent: dict[str, str | None] = field(default_factory=dict)
    bound: dict[str, str | None] = field(default_factory=dict)
    home: dict[str, str | None] = field(default_factory=dict)
    default: str | None = None
    disabled: set[str] = field(default_factory=set)

    def line(self, name: str) -> list[str]:
        above = self.parent[name]
        return [name] if above is None else [name, *self.line(above)]

    def named(self, name: str) -> tuple[str | None, str | None]:
        for place, one in enumerate(self.line(name)):
            if self.bound[one] is not None:
                return self.bound[one], "parent" if place else "own"
        return self.default, "default" if self.default else None

    def route(self, name: str) -> tuple[str | None, str | None]:
        found, via = self.named(name)
        return (None if found in self.disabled else found), via

    def move(self, name: str, to: str) -> None:
        self.bound[name] = to
        for who in self.bound:
            led = next((one for one in self.line(who) if self.bound[one] is not None), None)
            if led == name and self.home[who] is not None:
                self.home[who] = to

    def admits(self, name: str, data_source: str) -> bool:
        """May it move there, with all below it?"""
        family = {who for who in self.parent if name in self.line(who)}
        holders = {who for who in self.bound if data_source in {self.bound[who], self.home[who]}}
        return data_source not in self.disabled and not (data_source == "alone" and holders - family)

    def astray(self) -> bool:
        return any(home is not None and self.named(name)[0] != home for name, home in self.home.items())

    def takes(self, name: str, data_source: str | None) -> bool:
        others = {who for who, its in self.bound.items() if its == data_source} - {name}
        stays = self.bound.get(name) == data_source
        return (data_source not in self.disabled or stays) and not (data_source == "alone" and others)


class Histories(RuleBasedStateMachine):
    tenancy: Tenancy
    tally: Counter[str]

    @initialize()
    def begin(self) -> None:
        for statement in EMPTY:
            self.tenancy.control.write(statement)
        self.model = Model()
        self.to_default("d1")
        for name, data_source, parent in (("a", "d2", None), ("b", None, "a"), ("c", None, None)):
            self.make(name, data_source, parent)

    def change(self, change: Callable[[Model], Any], act: Callable[[], Any], *, fit: bool = True) -> None:
        """The act is done if it fits and leads nobody astray, and else refused and nothing has changed."""
        after = copy.deepcopy(self.model)
        change(after)
        allowed = fit and not after.astray()
        if allowed:
            act()
            self.model = after
        else:
            with pytest.raises(RefusedError) as refused:
                act()
            assert not fit or refused.value.code == Refusal.CUSTOMER_HAS_RECORDS
        self.tally["done" if allowed else "astray" if fit else "unfit"] += 1
        self.query()

    def query(self) -> None:
        page = self.tenancy.customers.list(PRODUCTION, limit=100)
        found = {}
        for view in page.items:
            place, via = view.computed_mapping["shop"], view.via["shop"]
            found[view.provided_id] = (place.id if place else None, via.value if via else None)
        assert found == {name: self.model.route(name) for name in self.model.bound}

    @rule(name=NAMES, data_source=MAYBE, parent=st.none() | NAMES)
    def create(self, name: str, data_source: str | None, parent: str | None) -> None:
        self.make(name, data_source, parent)

    def make(self, name: str, data_source: str | None, parent: str | None) -> None:
        if name in self.model.bound:
            return
        known = parent in self.model.parent
        deep = known and len(self.model.line(str(parent))) > 3
        fit = self.model.takes(name, data_source) if data_source else True

        def create(model: Model) -> None:
            model.bound[name], model.parent[name] = data_source, parent if known else None
            model.home[name] = None

        mapping = {"shop": data_source} if data_source else {}
        above = None if parent is None else f"provided:{parent}"
        fit = fit and (parent is None or (known and not deep))
        self.change(create, lambda: self.tenancy.create(name, mapping=mapping, parent=above), fit=fit)

    @rule(name=NAMES, data_source=IDS)
    def assign(self, name: str, data_source: str) -> None:
        if name in self.model.bound:
            self.change(
                lambda model: model.bound.update({name: data_source}),
                lambda: self.tenancy.update(name, mapping={"shop": data_source}),
                fit=self.model.takes(name, data_source),
            )

    @rule(name=NAMES)
    def assign_with_records(self, name: str) -> None:
        """Who has records is in one of the two: the other is refused."""
        self.journal(name)
        for data_source in ("d1", "d2"):
            self.assign(name, data_source)

    @rule(name=NAMES)
    def unbind(self, name: str) -> None:
        if name in self.model.bound:
            stays = self.model.home[name] is not None

            def unbind(model: Model) -> None:
                model.bound[name] = model.bound[name] if stays else None

            self.change(unbind, lambda: self.tenancy.update(name, unbound=("shop",)))

    @rule(name=NAMES, to=IDS, how=st.sampled_from(["move", "switch"]))
    def move(self, name: str, to: str, how: str) -> None:
        """To the end of the move: whoever follows the binding moves along."""
        model = self.model
        if name not in model.bound:
            return
        here, _ = model.named(name)
        leaves = here is not None and here != to and (how == "switch" or here not in model.disabled)

        def move() -> None:
            moves, customer_id = self.tenancy.moves, self.tenancy.get(name).id
            begin = moves.start if how == "move" else moves.switch
            moves.flip(begin(customer_id, "shop", DataSourceId(to), actor=ACTOR).id)

        self.change(lambda after: after.move(name, to), move, fit=leaves and model.admits(name, to))
        self.tally[how] += here != to and self.model.bound[name] == to

    @rule(name=NAMES, parent=st.none() | NAMES)
    def put_below(self, name: str, parent: str | None) -> None:
        if name not in self.model.bound:
            return
        model = self.model
        fit = parent is None or (parent in model.parent and name not in model.line(parent))
        if fit and parent is not None:
            below = [
                len(model.line(who)) - len(model.line(name))
                for who in model.parent
                if name in model.line(who)
            ]
            fit = len(model.line(parent)) + max(below) <= 3
        above = None if parent is None else f"provided:{parent}"
        self.change(
            lambda after: after.parent.update({name: parent}) if fit else None,
            lambda: self.tenancy.update(name, parent=above),
            fit=fit,
        )

    @rule(data_source=st.none() | st.sampled_from(["d1", "d2"]))
    def set_default(self, data_source: str | None) -> None:
        self.to_default(data_source)

    def to_default(self, data_source: str | None) -> None:
        self.change(
            lambda model: setattr(model, "default", data_source),
            lambda: self.tenancy.data_sources.set_default(PRODUCTION, "shop", data_source, actor=ACTOR),
            fit=data_source not in self.model.disabled,
        )

    @rule(name=NAMES)
    def journal(self, name: str) -> None:
        """A row of the customer comes: it resides where it is led, pinned if that is the default."""
        if name in self.model.bound and self.model.home[name] is None:
            found, via = self.model.route(name)
            if found is not None:
                assert self.tenancy.journalled(name) == found
                self.model.home[name] = found
                if via == "default":
                    self.model.bound[name] = found
        self.query()

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.model.bound:

            def delete(model: Model) -> None:
                for of_all in (model.parent, model.bound, model.home):
                    del of_all[name]  # type: ignore[attr-defined]

            children = name in self.model.parent.values()
            self.change(
                delete if not children else lambda _: None,
                lambda: self.tenancy.customers.delete(PRODUCTION, f"provided:{name}", actor=ACTOR),
                fit=not children,
            )

    @rule(data_source=IDS)
    def disable(self, data_source: str) -> None:
        self.change(
            lambda model: model.disabled.add(data_source),
            lambda: self.tenancy.data_sources.disable(data_source, actor=ACTOR, within=PRODUCTION),
        )

    @rule(data_source=IDS)
    def activate(self, data_source: str) -> None:
        self.change(
            lambda model: model.disabled.discard(data_source),
            lambda: self.tenancy.data_sources.activate(data_source, actor=ACTOR, within=PRODUCTION),
        )


def test_customers_are_led_as_the_model_says_whatever_changes(bare: Control) -> None:
    tenancy = Tenancy(bare, bodies=BODIES)

    class Bound(Histories):
        pass

    Bound.tenancy, Bound.tally = tenancy, Counter()
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(Bound.tally)
    assert min(Bound.tally[what] for what in ("done", "astray", "unfit", "move", "switch")) > 10, Bound.tally
