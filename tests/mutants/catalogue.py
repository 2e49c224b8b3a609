"""The mutants: of reading, then the journal's, the merge's, routing's, and of what keeps stores apart."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant
from tests.mutants.routing import ROUTING

_FENCE = "src/headrace/sources/postgres_fence.py"
_MEMORY = "src/headrace/sources/fence_memory.py"
_POSITION = "src/headrace/domain/position.py"
_REREAD = "src/headrace/domain/reread.py"
_VISIT = "src/headrace/steps/visit.py"
_RECONCILE = "src/headrace/steps/reconcile.py"
_APPEND = "src/headrace/control/append.py"
_GONE = "src/headrace/stores/gone.py"
_LOG_RUN = "src/headrace/steps/log_run.py"

_ALLOWED_HOST = "src/headrace/stores/allowed_host.py"
_OWNERSHIP = "src/headrace/stores/ownership.py"

_HOST_TESTS = "tests/unit/test_allowed_host.py"
_DRIFT_TESTS = "tests/conformance/test_record_store_drift.py"
_FENCE_TESTS = "tests/integration/test_postgres_fence.py"
_BEGUN_UNTRACKED = "test_a_transaction_begun_while_activities_were_not_tracked_holds_the_fence"
_READER_TESTS = "tests/conformance/test_source_reader.py"
_FETCH_TESTS = "tests/integration/test_steps_fetch.py"
_FEEDS_TESTS = "tests/conformance/control/test_control_feeds.py"
_REJECTED_TESTS = "tests/conformance/control/test_control_rejected.py"
_SCHEDULE_TESTS = "tests/conformance/control/test_control_schedule.py"
_STORE_TESTS = "tests/conformance/test_record_store.py"
_RECONCILE_TESTS = "tests/conformance/test_record_store_reconcile.py"

READING: Final = (
    Mutant(
        name="reading resumes after the saved cursor, not at it (naive >)",
        file="src/headrace/sources/postgres_select.py",
        before='where.append(self.compare_cursor(">=", selection.after.cursor))',
        after='where.append(self.compare_cursor(">", selection.after.cursor))',
        killed_by=(f"{_READER_TESTS}::test_a_position_without_a_key_reads_its_ties_again",),
    ),
    Mutant(
        name="the saved position is the lead, whatever the fence",
        file=_POSITION,
        before="return Position(fence.bound, None)",
        after="return lead",
        killed_by=("tests/properties/test_position.py",),
    ),
    Mutant(
        name="the saved position is the fence, though the lead is behind it",
        file=_POSITION,
        before="if rank(lead.cursor) < rank(fence.bound):",
        after="if rank(lead.cursor) < rank(fence.bound) and lead.cursor is None:",
        killed_by=("tests/properties/test_position.py",),
    ),
    Mutant(
        name="the fence is the clock, whatever runs",
        file=_FENCE,
        before="least(statement_timestamp(), min(xact_start))",
        after="statement_timestamp()",
        killed_by=(f"{_FENCE_TESTS}::test_an_open_transaction_of_another_session_holds_the_fence",),
    ),
    Mutant(
        name="the fence leaves out our role, not only our readers",
        file=_FENCE,
        before="WHERE datname = current_database() AND application_name IS DISTINCT FROM %(reader)s",
        after=(
            "WHERE datname = current_database() AND application_name IS DISTINCT FROM %(reader)s"
            " AND usename <> current_user"
        ),
        killed_by=(f"{_FENCE_TESTS}::test_a_transaction_of_our_own_role_under_another_name_holds_the_fence",),
    ),
    Mutant(
        name="only sessions whose activity is not tracked now hide when they began",
        file=_FENCE,
        before="xact_start IS NULL AND state IS DISTINCT FROM 'idle'",
        after="xact_start IS NULL AND state = 'disabled'",
        killed_by=(f"{_FENCE_TESTS}::{_BEGUN_UNTRACKED}",),
    ),
    Mutant(
        name="who hides when it began reopens all that was closed",
        file=_MEMORY,
        before="        fence = fence or memory.fence\n",
        after="",
        killed_by=("tests/unit/test_postgres_fence_decision.py",),
    ),
    Mutant(
        name="prepared transactions do not hold the fence",
        file=_MEMORY,
        before="holds = [fence, *prepared.values()]",
        after="holds = [fence]",
        killed_by=("tests/unit/test_postgres_fence_decision.py",),
    ),
    Mutant(
        name="a prepared transaction holds the fence of the poll that first sees it",
        file=_MEMORY,
        before="memory.prepared.get(name, memory.fence)",
        after="memory.prepared.get(name, seen.oldest)",
        killed_by=("tests/unit/test_postgres_fence_decision.py",),
    ),
    Mutant(
        name="a MySQL transaction counts from the look that first sees it",
        file="src/headrace/sources/mysql_fence.py",
        before="known_starts(seen.transactions, memory.look, memory.prepared)",
        after="dict.fromkeys(seen.transactions, seen.at)",
        killed_by=("tests/unit/test_mysql_fence_decision.py", "tests/integration/test_mysql_fence.py"),
    ),
    Mutant(
        name="a MySQL transaction counts from the look before, whatever its session ran then",
        file="src/headrace/sources/fence_look.py",
        before="new = min(self.at, self.statements.get(session, self.at))",
        after="new = self.at if session else min(self.statements.values())",
        killed_by=("tests/unit/test_mysql_fence_decision.py", "tests/integration/test_mysql_fence.py"),
    ),
    Mutant(
        name="without rights the newest epoch counts, though its transactions run",
        file=_MEMORY,
        before="ended = [at for at, epoch in enumerate(epochs) if not epoch.running]",
        after="ended = [at for at, epoch in enumerate(epochs)]",
        killed_by=("tests/unit/test_postgres_fence_decision.py",),
    ),
    Mutant(
        name="the fence is as late as the end of the look at sessions",
        file=_FENCE,
        before="SELECT statement_timestamp(),\n       least(statement_timestamp(), min(xact_start)),",
        after="SELECT clock_timestamp(),\n       least(clock_timestamp(), min(xact_start)),",
        killed_by=(f"{_FENCE_TESTS}::test_a_slow_look_at_sessions_is_no_later_than_its_beginning",),
    ),
    Mutant(
        name="the snapshot is opened before the fence is asked",
        file=_FENCE,
        before="    asked_s = asking.clock.seconds()\n",
        after=(
            "    asked_s = asking.clock.seconds()\n"
            "    connection.execute('COMMIT')\n"
            "    connection.execute('BEGIN ISOLATION LEVEL REPEATABLE READ')\n"
            "    connection.execute('SELECT 1')\n"
        ),
        killed_by=(f"{_FENCE_TESTS}::test_what_ended_before_the_look_at_sessions_is_in_the_snapshot",),
    ),
    Mutant(
        name="a clock that was set back lowers nothing",
        file=_POSITION,
        before="if saved is None or fence.resume is None or",
        after="if saved is None or fence.resume is not None or fence.resume is None or",
        killed_by=("tests/properties/test_position.py",),
    ),
    Mutant(
        name="a feed that has read past the source's clock stays there",
        file="src/headrace/steps/stream.py",
        before="elif is_stranded(saved, fence, self.rank):",
        after="elif is_stranded(None, fence, self.rank):",
        killed_by=("tests/integration/test_sqlite_odd_cursors.py",),
    ),
    Mutant(
        name="one odd value takes the clock from a SQLite cursor",
        file="src/headrace/sources/sqlite_fence.py",
        before="return found[0] if len(found) == 1 else None",
        after="return None",
        killed_by=("tests/integration/test_sqlite_odd_cursors.py",),
    ),
    Mutant(
        name="a feed that turns out eventual is reconciled by keys",
        file=_VISIT,
        before='if declared and claimed.reconcile == "keys":',
        after='if not declared and claimed.reconcile == "keys":',
        killed_by=("tests/integration/test_sqlite_odd_cursors.py",),
    ),
    Mutant(
        name="on another machine only a clock that shows less was set back",
        file="src/headrace/domain/clock_step.py",
        before="least = max(timedelta(), answered - _took(now) - APART)",
        after="least = timedelta()",
        killed_by=("tests/unit/test_clock_step.py",),
    ),
    Mutant(
        name="rows behind the fence are read again only when it moves",
        file=_REREAD,
        before=" or not self.ran <= running:",
        after=":",
        killed_by=("tests/properties/test_position.py", "tests/unit/test_reread.py"),
    ),
    Mutant(
        name="who may tie with the lead is not waited for",
        file=_REREAD,
        before="return fence.fresh is None or (lead is not None and rank(lead.cursor) >= rank(fence.fresh))",
        after="return False",
        killed_by=("tests/properties/test_position.py", "tests/unit/test_reread.py"),
    ),
    Mutant(
        name="a text of the source's own is taken for the mark of a cell that is too big",
        file="src/headrace/sources/cell_mark.py",
        before="texts, found = kept_apart(texts), []",
        after="found = []",
        killed_by=("tests/conformance/test_source_oversize.py",),
    ),
    Mutant(
        name="rows without a cursor are not read",
        file=_VISIT,
        before=' or not self._lanes.read("null", NullCursors())',
        after="",
        killed_by=("tests/acceptance/lossless/test_08_far_dates.py",),
    ),
    Mutant(
        name="rows dated after the source's clock are not read",
        file=_VISIT,
        before='fence.now is not None and not self._lanes.read("beyond", Beyond(fence.now))',
        after="fence.now is not None and not fence.now",
        killed_by=("tests/acceptance/lossless/test_08_far_dates.py",),
    ),
    Mutant(
        name="a chunk speaks for what is after the next one begins",
        file=_RECONCILE,
        before="after=self.source.bound(under_way.after),",
        after="after=self.source.bound(resume),",
        killed_by=(_FETCH_TESTS, "tests/integration/test_steps_visit.py"),
    ),
    Mutant(
        name="a data source without rows in a chunk is told nothing",
        file=_RECONCILE,
        before="sorted({*self.writer.written_to(), *page.events})",
        after="sorted(page.events)",
        killed_by=(_FETCH_TESTS, "tests/integration/test_steps_visit.py"),
    ),
    Mutant(
        name="what a reconciliation removes may come back unseen",
        file=_RECONCILE,
        before="if under_way.full or following is None:",
        after="if under_way.full:",
        killed_by=(
            f"{_FETCH_TESTS}::test_a_row_that_a_reconciliation_missed_and_that_came_back_as_it_was_is_there",
        ),
    ),
    Mutant(
        name="a source that was restored is taken as it is",
        file="src/headrace/steps/source_check.py",
        before="    if restored is not None:\n",
        after="    if restored is not None and not restored:\n",
        killed_by=("tests/integration/test_restored_source.py",),
    ),
    Mutant(
        name="a column that was made anew is taken for the one before",
        file="src/headrace/domain/source_seen.py",
        before="known.get(name, number) != number",
        after="name not in known",
        killed_by=("tests/integration/test_drift.py",),
    ),
    Mutant(
        name="a feed that drift stopped goes on without a comparison",
        file="src/headrace/control/feeds.py",
        before='            stopped |= {"reconcile_wanted": "full", "reconcile_asked_epoch": held.epoch}\n',
        after="",
        killed_by=("tests/integration/test_drift.py",),
    ),
    Mutant(
        name="a MySQL table that was made anew is the one that was read",
        file="src/headrace/sources/mysql_identity.py",
        before="numbers.get(_name(table.place)) or table.created",
        after='""',
        killed_by=(
            "tests/integration/test_mysql_identity.py",
            "tests/integration/test_restored_source.py::test_a_mysql_dump_put_back_is_compared_in_full",
        ),
    ),
    Mutant(
        name="a column that changed its type is read on",
        file="src/headrace/steps/drift.py",
        before=" *_other_types(plan, facts),",
        after="",
        killed_by=("tests/integration/test_drift.py",),
    ),
)

JOURNAL: Final = (
    Mutant(
        name="the journal does not ask for the epoch",
        file=_APPEND,
        before=(
            '    feed.c.epoch == sa.bindparam("of_epoch"),\n    feed.c.lease_id == sa.bindparam("of_lease"),'
        ),
        after="",
        killed_by=(f"{_FEEDS_TESTS}::test_a_stale_lease_writes_nothing",),
    ),
    Mutant(
        name="numbers of batches have holes",
        file=_APPEND,
        before="_Place(place.log_id, place.next_seq + 1)",
        after="_Place(place.log_id, place.next_seq + 2)",
        killed_by=(f"{_FEEDS_TESTS}::test_batches_are_numbered_densely_in_each_data_source_in_their_order",),
    ),
    Mutant(
        name="a page of an older routing is journalled",
        file=_APPEND,
        before="if current != version:",
        after="if current < version:",
        killed_by=(f"{_FEEDS_TESTS}::test_a_page_resolved_by_an_older_routing_is_refused_whole",),
    ),
    Mutant(
        name="an answer meets a request that was made after the fetch",
        file=_APPEND,
        before='key_request.c.feed_id == sa.bindparam("of_feed"),\n    key_request.c.id.in_(',
        after='key_request.c.feed_id == sa.bindparam("of_feed"),\n    sa.true() | key_request.c.id.in_(',
        killed_by=(f"{_FEEDS_TESTS}::test_an_answer_does_not_meet_a_request_made_after_it_was_fetched",),
    ),
    Mutant(
        name="a reconciliation answers what was asked after it began",
        file=_APPEND,
        before="if answered and held.reconcile_asked_epoch < begun:",
        after="if answered:",
        killed_by=(
            f"{_FEEDS_TESTS}::test_a_reconciliation_that_was_resumed_does_not_answer_a_request_made_meanwhile",
        ),
    ),
    Mutant(
        name="a trigger during a poll is forgotten",
        file="src/headrace/control/feeds.py",
        before="connection.execute(_ASK_AGAIN, of_feed)",
        after="pass",
        killed_by=(
            f"{_FEEDS_TESTS}::test_a_claim_of_a_feed_that_is_polled_is_refused_and_seen_at_the_release",
        ),
    ),
    Mutant(
        name="retention removes the last merged batch of a log",
        file="src/headrace/control/sweep.py",
        before="        sa.not_(is_last),\n",
        after="",
        killed_by=(
            f"{_SCHEDULE_TESTS}::test_retention_keeps_the_last_merged_batch_of_each_log_and_what_waits",
        ),
    ),
)

MERGING: Final = (
    Mutant(
        name="a merge takes no lock",
        file="src/headrace/stores/postgres.py",
        before="yield session if taken[0] else None",
        after="yield session",
        killed_by=(f"{_STORE_TESTS}::test_a_second_merge_of_the_model_finds_the_lock_taken",),
    ),
    Mutant(
        name="the id of the applied batch is not compared",
        file="src/headrace/steps/standing.py",
        before="if batch_at(applied.seq) != applied.batch_id:",
        after="if batch_at(applied.seq) is None:",
        killed_by=(
            "tests/unit/test_steps_merge.py::test_a_store_stands_in_a_log_or_one_of_both_was_restored",
        ),
    ),
    Mutant(
        name="a store behind control is taken as it is",
        file="src/headrace/steps/standing.py",
        before="if applied.seq < feed_log.merged_seq:",
        after="if applied.seq < 0:",
        killed_by=(
            "tests/unit/test_steps_merge.py::test_a_store_stands_in_a_log_or_one_of_both_was_restored",
        ),
    ),
    Mutant(
        name="of rows with one key the first wins",
        file="src/headrace/domain/latest.py",
        before='.aggregate([(ORDINAL, "max")]).column(f"{ORDINAL}_max")',
        after='.aggregate([(ORDINAL, "min")]).column(f"{ORDINAL}_min")',
        killed_by=(f"{_STORE_TESTS}::test_of_rows_with_one_key_the_last_wins",),
    ),
    Mutant(
        name="only the new mapped value is touched",
        file="src/headrace/stores/staged_rows.py",
        before='f" WHERE d.{q(_OLD_VALUE)} IS NOT NULL"',
        after='f" WHERE d.{q(_OLD_VALUE)} IS NOT NULL AND 1 = 0"',
        killed_by=(f"{_STORE_TESTS}::test_a_row_that_moves_changes_its_old_and_its_new_record",),
    ),
    Mutant(
        name="the old value is touched under the new customer alone",
        file="src/headrace/stores/staged_rows.py",
        before='f"SELECT d.{q(_OLD_CUSTOMER)}, d.{q(_OLD_VALUE)} FROM',
        after='f"SELECT d.{q(CUSTOMER)}, d.{q(_OLD_VALUE)} FROM',
        killed_by=(
            f"{_STORE_TESTS}::test_a_staged_row_that_changes_its_customer_leaves_the_old_ones_record",
        ),
    ),
    Mutant(
        name="a record that changes its customer stays under the old one",
        file="src/headrace/stores/record_rows.py",
        before="OR r.{q(CUSTOMER)} <> b.{q(CUSTOMER)})",
        after="OR 1 = 0)",
        killed_by=(f"{_STORE_TESTS}::test_a_row_that_changes_its_customer_leaves_none_behind",),
    ),
    Mutant(
        name="a new record does not pull what is staged",
        file="src/headrace/stores/touched.py",
        before='return source.id in self.values or frame.exists(f"SELECT 1 FROM {frame.staged(source)}")',
        after="return False",
        killed_by=(f"{_STORE_TESTS}::test_a_deleted_record_finds_its_rows_again_when_it_returns",),
    ),
    Mutant(
        name="a change does not run along a chain of sources",
        file="src/headrace/stores/recompute.py",
        before="            self._pass_on(position, changes)\n",
        after="            pass\n",
        killed_by=(f"{_STORE_TESTS}::test_a_change_runs_along_a_chain_of_sources_to_all_records",),
    ),
    Mutant(
        name="a chunk speaks for all keys",
        file=_GONE,
        before=('conditions = [self._feeds(binds, "r"), *self._in_range(chunk, binds)]\n        same ='),
        after='conditions = [self._feeds(binds, "r")]\n        same =',
        killed_by=(f"{_RECONCILE_TESTS}::test_a_chunk_speaks_only_for_its_range",),
    ),
    Mutant(
        name="chunks leave the key between them out",
        file=_GONE,
        before="<= {bound(chunk.upto)}",
        after="< {bound(chunk.upto)}",
        killed_by=(_RECONCILE_TESTS,),
    ),
    Mutant(
        name="a row that comes back during a reconciliation is removed",
        file=_GONE,
        before="        if self.noted():\n            self._forget(",
        after="        if self.noted() and not batch:\n            self._forget(",
        killed_by=(f"{_RECONCILE_TESTS}::test_a_row_that_comes_again_meanwhile_is_not_gone",),
    ),
    Mutant(
        name="the breaker holds nothing",
        file=_GONE,
        before="return left == total or (left > _HELD_ROWS and left * _HELD_SHARE > total)",
        after="return False",
        killed_by=(f"{_RECONCILE_TESTS}::test_an_emptied_source_is_held_until_confirmed",),
    ),
    Mutant(
        name="attempts are not given back when the store is away",
        file=_LOG_RUN,
        before="ConfigurationError):\n            self._give_back()\n            raise",
        after="ConfigurationError):\n            raise",
        killed_by=("tests/unit/test_steps_merge.py::test_an_outage_gives_attempts_back",),
    ),
    Mutant(
        name="a merge applies batches to tables of another apply",
        file=_LOG_RUN,
        before="run = _of_shape(waiting, contract.get(feed_log.source_id)) if fits else []",
        after="run = list(waiting)",
        killed_by=(
            "tests/unit/test_steps_merge.py::test_batches_of_another_shape_wait_for_apply_and_nothing_is_tried",
        ),
    ),
    Mutant(
        name="a batch is marked merged before its transaction commits",
        file=_LOG_RUN,
        before="            tried = self._tried(transaction, single=single)\n",
        after=(
            "            tried = self._tried(transaction, single=single)\n"
            "            self.step.journal.mark_merged(tried.merged, rows_changed=0)\n"
        ),
        killed_by=(
            "tests/unit/test_steps_merge.py::test_a_merge_is_told_to_control_only_when_it_is_committed",
        ),
    ),
    Mutant(
        name="attempts are counted after trying",
        file=_LOG_RUN,
        before="        self._attempt(run)\n        return self._applied(",
        after="        self.attempted = run\n        return self._applied(",
        killed_by=("tests/unit/test_steps_merge.py::test_an_attempt_is_counted_before_it_is_tried",),
    ),
    Mutant(
        name="keys that the store lacks are not asked for",
        file="src/headrace/steps/applying.py",
        before="(*total.missing, *total.spared)",
        after="total.spared",
        killed_by=(_FETCH_TESTS, "tests/unit/test_steps_merge.py"),
    ),
    Mutant(
        name="keys that a data source refuses to remove are not asked for",
        file="src/headrace/steps/applying.py",
        before="(*total.missing, *total.spared)",
        after="total.missing",
        killed_by=("tests/conformance/test_refused_removal.py",),
    ),
    Mutant(
        name="a full reconciliation computes nothing anew",
        file="src/headrace/stores/merge.py",
        before="            self._repairs.append(scope.source)\n",
        after="            pass\n",
        killed_by=("tests/integration/test_verify_mends.py",),
    ),
    Mutant(
        name="a refused row is left out and not set aside",
        file=_LOG_RUN,
        before="        self.step.journal.set_aside(batch.id, rejected)\n",
        after="",
        killed_by=("tests/unit/test_steps_poison.py",),
    ),
    Mutant(
        name="an older version, merged late into another data source, closes a refused row",
        file="src/headrace/steps/rejection.py",
        before="r.journalled_at < merged.journalled_at",
        after="r.journalled_at",
        killed_by=("tests/integration/test_refused_elsewhere.py",),
    ),
    Mutant(
        name="a replay believes the stored values, and fetches nothing",
        file="src/headrace/control/runs.py",
        before="add_key_requests(connection, feed_id, keys.get(feed_id, []))",
        after="pass",
        killed_by=(f"{_REJECTED_TESTS}::test_a_replay_asks_for_what_it_is_told_to",),
    ),
    Mutant(
        name="a rejected row is closed by a version that was only read",
        file=_APPEND,
        before='_RESOLVE_VANISHED.where(rejected_row.c.refused_by == "")',
        after="_RESOLVE_VANISHED",
        killed_by=(f"{_REJECTED_TESTS}::test_only_a_merge_closes_what_a_data_source_refused",),
    ),
)

SAFETY: Final = (
    Mutant(
        name="one allowed address of a host is enough",
        file=_ALLOWED_HOST,
        before="if not all(map(self.networks.allow, found)):",
        after="if not any(map(self.networks.allow, found)):",
        killed_by=(f"{_HOST_TESTS}::test_all_addresses_of_a_name_must_be_allowed",),
    ),
    Mutant(
        name="the driver resolves the host again, after the check",
        file=_ALLOWED_HOST,
        before='            "hostaddr": ",".join(map(str, addresses)),\n',
        after="",
        killed_by=(f"{_HOST_TESTS}::test_the_checked_address_is_pinned_and_the_name_kept_for_tls",),
    ),
    Mutant(
        name="the host is checked when the store is opened, not at each connect",
        file="src/headrace/stores/connect.py",
        before="    def place() -> str:\n        try:\n            return pinned(url)\n",
        after=(
            "    kept: list[str] = []\n\n    def place() -> str:\n        try:\n            if not kept:\n"
            "                kept.append(pinned(url))\n            return kept[0]\n"
        ),
        killed_by=(
            "tests/integration/test_connection_test.py::test_a_store_asks_for_the_address_at_each_connect",
        ),
    ),
    Mutant(
        name="addresses that are never allowed are allowed where all are",
        file="src/headrace/stores/address.py",
        before="if not loopback and (_within(address, _NEVER) or",
        after="if address is None and (_within(address, _NEVER) or",
        killed_by=(f"{_HOST_TESTS}::test_some_addresses_are_refused_even_where_all_are_allowed",),
    ),
    Mutant(
        name="IPv4 in the clothes of IPv6 is IPv6",
        file="src/headrace/stores/address.py",
        before="return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address",
        after="return address",
        killed_by=(f"{_HOST_TESTS}::test_an_ipv4_address_in_the_clothes_of_ipv6_is_that_address",),
    ),
    Mutant(
        name="any parameter of a URL is passed on",
        file="src/headrace/stores/given_url.py",
        before="    unknown = sorted(name for name, _ in given if name not in PARAMETERS | OURS)\n",
        after="    unknown = []\n",
        killed_by=(f"{_HOST_TESTS}::test_parameters_that_are_not_listed_are_refused",),
    ),
    Mutant(
        name="links of files are not followed before the comparison",
        file=_ALLOWED_HOST,
        before="path = (path if path.is_absolute() else directory / path).resolve()",
        after="path = path if path.is_absolute() else directory / path",
        killed_by=(f"{_HOST_TESTS}::test_a_sqlite_file_is_nowhere_else",),
    ),
    Mutant(
        name="a store with another's stamp is used",
        file=_OWNERSHIP,
        before="            self._refuse(found)\n",
        after="            pass\n",
        killed_by=(f"{_DRIFT_TESTS}::test_tables_with_another_stamp_are_never_read_or_written",),
    ),
    Mutant(
        name="a store without a stamp is used",
        file=_OWNERSHIP,
        before="        if not self.check_unless_new(session):\n",
        after="        if self.check_unless_new(session) is None:\n",
        killed_by=(f"{_DRIFT_TESTS}::test_tables_without_a_stamp_are_nobodys",),
    ),
    Mutant(
        name="a merge trusts the stamp that its connection saw before",
        file="src/headrace/stores/record_store.py",
        before="            self._ownership.check(session)\n",
        after="            self._ownership.check_once(session)\n",
        killed_by=(f"{_DRIFT_TESTS}::test_each_merge_looks_for_the_stamp_and_reads_only_on_new_connections",),
    ),
    Mutant(
        name="tables that lack a part are merged into and read",
        file="src/headrace/stores/fit.py",
        before="        if lacking:\n",
        after="        if False:\n",
        killed_by=(
            f"{_DRIFT_TESTS}::test_what_lacks_a_part_is_neither_read_nor_written_until_apply_mends_it",
        ),
    ),
    Mutant(
        name="apply makes anew what was lost, and reads nothing again",
        file="src/headrace/stores/migration.py",
        before="            self._found.rebuilt.add(source.id)\n            if not source.primary:\n",
        after="            if not source.primary:\n",
        killed_by=(f"{_DRIFT_TESTS}::test_apply_reads_again_what_was_lost",),
    ),
    Mutant(
        name="apply drops columns that somebody added",
        file="src/headrace/stores/migration.py",
        before="is None and name in ours)",
        after="is None)",
        killed_by=(f"{_DRIFT_TESTS}::test_what_somebody_adds_is_no_drift_and_stays",),
    ),
)

MUTANTS: Final = (*READING, *JOURNAL, *MERGING, *ROUTING, *SAFETY)
