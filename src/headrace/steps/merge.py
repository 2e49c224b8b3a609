"""Apply the waiting batches of one (data source, model), in order, exactly once.

The store's own `_applied`, read under the lock, says where each log stands; control is only told
afterwards. So a crash at any point is repaired by running this again, anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace import logs as log_lines
from headrace.domain.vocabulary import DataSourceId, ModelId
from headrace.ports import Catalogue, Definitions, FeedLog
from headrace.steps.applying import Applying
from headrace.steps.log_run import LogRun, ends
from headrace.steps.merge_report import MergeReport, MergeState
from headrace.steps.merging import Merging

log = log_lines.get(__name__)

_FRESH_BATCHES: Final = 2
"""A log of which more waits has a backlog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeStep:
    """The merge of batches into records."""

    merging: Merging
    catalogue: Definitions

    def drain(self, data_source_id: DataSourceId, model_id: ModelId) -> MergeReport:
        """Nothing that can be applied waits any more, or the report says what is in the way.

        Raises:
            RetryableError: store or control is unavailable; attempts were given back.
        """
        total = MergeReport(state=MergeState.DRAINED)
        logs = self.merging.journal.logs(data_source_id, model_id)
        while True:
            report = self._visit(logs)
            total = total.then(report)
            # Once more after each visit: whoever found its lock taken has left what it came for.
            before, logs = logs, self.merging.journal.logs(data_source_id, model_id)
            if report.batches == 0 and not report.unfinished and ends(logs) == ends(before):
                return total

    def merge_fresh(self, data_source_id: DataSourceId, model_id: ModelId) -> bool:
        """What one feed journalled just now is merged. False: something waits still, for whoever is nudged:
        more than that waited, another worker has the lock, or it could not be applied.

        It is as one visit of `drain`, which whoever journals a little can afford to make himself.

        Raises:
            RetryableError: store or control is unavailable; attempts were given back.
        """
        logs = [x for x in self.merging.journal.logs(data_source_id, model_id) if x.seq > x.merged_seq]
        if len(logs) == 1 and logs[0].seq - logs[0].merged_seq <= _FRESH_BATCHES:
            self._visit(logs)
            logs = [x for x in self.merging.journal.logs(data_source_id, model_id) if x.seq > x.merged_seq]
        return not logs

    def recognise_restored(self, data_source_id: DataSourceId, model_id: ModelId) -> bool:
        """Logs whose store or control was restored from a backup have begun anew, though nothing waits; tells
        whether there are any. Logs that were cut are resumed.

        Looks without the lock first, so that a sweep of many stores disturbs none; what looks
        wrong is looked at again under it.
        """
        catalogue = self.catalogue()
        applied = self.merging.stores.open(data_source_id).applied(catalogue.model(model_id))
        found = False
        for feed_log in self.merging.journal.logs(data_source_id, model_id):
            mark = applied.get(feed_log.feed_id)
            if self.merging.standing_of(feed_log, mark).restored is not None:
                found = True
                self._run(catalogue, feed_log)
            if feed_log.cut:
                self._resume(feed_log)
        return found

    def _resume(self, feed_log: FeedLog) -> None:
        """The data source can be reached: what was left out is read for it."""
        if self.merging.journal.resume_log(feed_log):
            source, data_source = feed_log.source_id, feed_log.data_source_id
            log.info("log resumed", feed=feed_log.feed_id, source=source, data_source=data_source)
            self.merging.nudge.poll(feed_log.feed_id)

    def _visit(self, logs: Sequence[FeedLog]) -> MergeReport:
        """One run of each log of the model; what is in the way of one is not in that of others."""
        total = MergeReport(state=MergeState.DRAINED)
        catalogue = self.catalogue()
        for feed_log in logs:
            if feed_log.seq > feed_log.merged_seq:
                total = total.beside(self._run(catalogue, feed_log))
        return total

    def _run(self, catalogue: Catalogue, feed_log: FeedLog) -> MergeReport:
        applying = Applying(self.merging.journal, catalogue, feed_log)
        return LogRun(step=self.merging, applying=applying).run()
