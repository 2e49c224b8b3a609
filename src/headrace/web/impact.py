"""Who a change would lead elsewhere, as an answer."""

from __future__ import annotations

from pydantic import Field

from headrace.control.impact import Impact
from headrace.web.texts import Answer


class LedCustomer(Answer):
    """A customer whom the change leads elsewhere; null: to no data source that serves."""

    customer: str
    schema_: str = Field(alias="schema")
    from_: str | None = Field(alias="from")
    to: str | None
    has_records: bool


class ImpactAnswer(Answer):
    """`changing`: routes that change at once. `held`: routes that would lead away from records, for which the
    change is refused. `staying`: customers whose records stay where they are. `customers`: the first ones."""

    changing: int
    held: int
    staying: int
    customers: tuple[LedCustomer, ...]

    @classmethod
    def of(cls, impact: Impact) -> ImpactAnswer:
        return cls(
            changing=impact.changing,
            held=impact.held,
            staying=impact.staying,
            customers=tuple(
                LedCustomer(
                    customer=one.customer,
                    schema_=one.schema,
                    from_=one.before,
                    to=one.after,
                    has_records=one.has_records,
                )
                for one in impact.led
            ),
        )
