"""Requests from outside that a source be read now: which feeds are meant, and that they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace import logs
from headrace.domain.refusal import Refusal
from headrace.domain.trigger import LONGEST_ID, TriggerRequest, parsed
from headrace.domain.vocabulary import FeedId, SourceId
from headrace.errors import HeadraceError, RefusedError
from headrace.metrics import TRIGGERS
from headrace.ports import Ask, Catalogue, Definitions, FeedPlan, Nudge, Triggers, Unmet
from headrace.steps.page import canonical_requests

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and what it may ask for.

    Attributes:
        by: see `Ask.by`.
        visibility_group: only what is read from apps of this group; None: of any.
        app: only what is read from this app; None: from any.
    """

    by: str
    visibility_group: str | None = None
    app: str | None = None

    def may_ask(self, plan: FeedPlan) -> bool:
        return self.visibility_group in (None, plan.visibility_group) and self.app in (None, plan.app_id)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, and the feeds that were told."""

    ask: Ask
    feeds: Sequence[FeedId]


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerStep:
    """Meets requests, many at once."""

    catalogue: Definitions
    newest: Callable[[], int]
    """The version of the definitions that are applied, asked of the control database."""
    is_customer: Callable[[str, str], bool]
    """There is a customer of this visibility group with this `provided_id`."""
    triggers: Triggers
    nudge: Nudge

    def ask(self, request: TriggerRequest, asker: Asker) -> Asked:
        """A request of somebody who waits for the answer is judged and met.

        Raises:
            RefusedError: see `judge`; or no feed of the source is polled until somebody resumes it.
        """
        try:
            ask = self.judge(request, asker)
        except RefusedError as error:
            self.meet([_unmet(request, asker, error.code, error.detail)])
            raise
        self._refuse_paused(ask)
        return Asked(ask, self.meet([ask]))

    def judge(self, request: TriggerRequest, asker: Asker) -> Ask:
        """What is read to meet the request.

        Raises:
            RefusedError: nothing can be; the detail says why, and names only what the asker may see.
        """
        plans = self._plans(request, asker)
        plans = [plan for plan in plans if request.app in (None, plan.app_id)]
        if not plans:
            raise RefusedError(
                Refusal.NOT_FOUND, "there is no such source, or it is not read from such an app"
            )
        if request.customer is not None:
            plans = [plan for plan in plans if self._may_have(plan, request.customer)]
        if not plans:
            raise RefusedError(
                Refusal.NOT_FOUND, "there is no such customer, or the source has no rows of it"
            )
        return Ask(
            by=asker.by,
            source=plans[0].source.id,
            app=request.app,
            customer=request.customer,
            feeds=tuple((plan.source.id, plan.app_id) for plan in plans),
            keys=None if request.keys is None else _fitting(request.keys, plans[0]),
        )

    def judged(self, body: bytes | str, asker: Asker, kind: type[TriggerRequest]) -> Ask | Unmet:
        """As `judge`, of a body that anybody may have written: whatever is wrong with it stops no other."""
        try:
            request = parsed(body, kind)
        except RefusedError as error:
            return _unmet(TriggerRequest(), asker, error.code, error.detail)
        return self._judged(request, asker)

    def notified(self, payload: str, asker: Asker, sources: Sequence[SourceId]) -> list[Ask | Unmet]:
        """What a notification asks of these sources, which listen to its channel.

        Args:
            payload: empty: all that has changed of each; or a request, of one of them or of each. When it
                is none, or cannot be met, that is told, and all that has changed is asked for: that
                something has changed it says in any case.
        """
        try:
            request = parsed(payload, TriggerRequest) if payload else TriggerRequest()
        except RefusedError as error:
            told = [_unmet(TriggerRequest(source=s), asker, error.code, error.detail) for s in sources]
            return [*told, *(self._judged(TriggerRequest(source=s), asker) for s in sources)]
        judged = []
        for source in sources:
            if request.source in (None, source):
                judged.append(self._judged(request.model_copy(update={"source": source}), asker))
                if isinstance(judged[-1], Unmet):
                    judged.append(self._judged(TriggerRequest(source=source), asker))
        if not judged:
            reason = "source: it does not listen to this channel"
            judged.append(_unmet(request, asker, Refusal.NOT_FOUND, reason))
        return judged

    def _judged(self, request: TriggerRequest, asker: Asker) -> Ask | Unmet:
        try:
            return self.judge(request, asker)
        except RefusedError as error:
            code, reason = error.code, error.detail
        except HeadraceError:
            raise
        except Exception:
            log.exception("a trigger met a bug")
            code, reason = Refusal.INTERNAL, "a bug of Headrace: its log tells more"
        return _unmet(request, asker, code, reason)

    def meet(self, judged: Sequence[Ask | Unmet]) -> Sequence[FeedId]:
        """All of it is written down and counted, then the feeds are nudged, each once."""
        asks = [each for each in judged if isinstance(each, Ask)]
        unmet = [each for each in judged if isinstance(each, Unmet)]
        feeds = self.triggers.record(asks, unmet)
        for feed_id in feeds:
            self.nudge.poll(feed_id)
        TRIGGERS.labels(outcome="accepted").inc(len(asks))
        TRIGGERS.labels(outcome="rejected").inc(len(unmet))
        return feeds

    def _refuse_paused(self, ask: Ask) -> None:
        reason = self.triggers.paused_reason(ask.feeds)
        if reason is not None:
            raise RefusedError(
                Refusal.SOURCE_PAUSED,
                f"{ask.source} is paused ({reason}): headrace resume {ask.source} first",
            )

    def _plans(self, request: TriggerRequest, asker: Asker) -> list[FeedPlan]:
        found = _of_source(self.catalogue(), request, asker)
        # It may have been applied after this process looked last.
        return found or _of_source(self.catalogue(at_least=self.newest()), request, asker)

    def _may_have(self, plan: FeedPlan, customer: str) -> bool:
        if plan.customer_column is None:
            return plan.customer == customer
        return plan.create_unknown_customers or self.is_customer(plan.visibility_group, customer)


def _unmet(request: TriggerRequest, asker: Asker, code: str, reason: str) -> Unmet:
    return Unmet(
        by=asker.by,
        source=(request.source or "")[:LONGEST_ID],
        app=request.app,
        customer=request.customer,
        code=code,
        reason=reason,
    )


def _of_source(catalogue: Catalogue, request: TriggerRequest, asker: Asker) -> list[FeedPlan]:
    plans = catalogue.plans.values()
    return [plan for plan in plans if plan.source.id == request.source and asker.may_ask(plan)]


def _fitting(keys: Sequence[tuple[str, ...]], plan: FeedPlan) -> tuple[tuple[str, ...], ...]:
    """The keys, refused as a whole if one of them can be no row's."""
    wanted = tuple(dict.fromkeys(keys))
    fit = canonical_requests(wanted, plan)
    unfit = next((key for key in wanted if key not in fit), None)
    if unfit is not None:
        columns = ", ".join(column.source_column for column in plan.source.key)
        shown = json.dumps(unfit, ensure_ascii=False)
        raise RefusedError(Refusal.INVALID, f"keys: {shown} is no key of {plan.source.id} ({columns})")
    return wanted
