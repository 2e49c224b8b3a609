"""What every kind of fault is."""

from __future__ import annotations

from typing import ClassVar

from tests.faults.plan import Fault, KindPlan
from tests.faults.site import Site
from tests.faults.writers import Writers


class NotNowError(Exception):
    """The fault comes a little later."""


class Kind:
    """One kind of fault. Beginning and ending may raise: they are tried again a little later."""

    plan: ClassVar[KindPlan]
    by_operator: ClassVar[bool] = False
    """It takes commands of a person, which wait for what is down."""

    def begin(self, site: Site, writers: Writers, fault: Fault) -> None:
        raise NotImplementedError

    def end(self, site: Site, writers: Writers, fault: Fault) -> None:
        """Nothing is left to mend."""
