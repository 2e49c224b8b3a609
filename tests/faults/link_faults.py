"""Links that are cut, slow, or pass nothing."""

from __future__ import annotations

import random

from tests.faults.kind import Kind
from tests.faults.plan import Fault, KindPlan
from tests.faults.site import LINKS, Site
from tests.faults.writers import Writers


class Reset(Kind):
    plan = KindPlan(name="connections reset", targets=LINKS, occupies="link {target}", weight=2)

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].reset()


class Slow(Kind):
    plan = KindPlan(name="slow link", targets=LINKS, lasts_s=(2.0, 5.0), occupies="link {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].delay(random.Random(fault.seed).uniform(0.01, 0.08))

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].delay(0.0)


class Partition(Kind):
    """Nothing passes; at the end what was held up passes, or every connection is cut."""

    plan = KindPlan(name="partition", targets=LINKS, lasts_s=(1.0, 5.0), occupies="link {target}")

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        site.links[fault.target].stall()

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        link = site.links[fault.target]
        if random.Random(fault.seed).random() < 0.5:
            link.reset()
        link.flow()
