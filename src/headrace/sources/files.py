"""Reads files: CSV and Parquet of one directory, by way of a temporary copy that knows their order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from headrace.domain.position import Fence, Position
from headrace.domain.source_seen import SourceIdentity
from headrace.domain.vocabulary import FeedClass
from headrace.errors import (
    ConfigurationError,
    ErrorCode,
    InvariantError,
    RelationUnavailableError,
    SourceDriftError,
    SourceUnavailableError,
)
from headrace.ports import (
    Examination,
    KeyRange,
    Page,
    ReadPlan,
    Relation,
    Selection,
    Since,
    TableFacts,
    TableListing,
)
from headrace.sources.files_csv import BLOCKS, CannotReadSoError, SubstituteTakenError, Way, read_csv
from headrace.sources.files_cursor import rank_of
from headrace.sources.files_error import spill_translated, translated
from headrace.sources.files_identity import Identities, being_written
from headrace.sources.files_listing import listed
from headrace.sources.files_parquet import read_parquet
from headrace.sources.files_path import Directory, Format, SourceFile
from headrace.sources.files_shape import Shape, shape_of
from headrace.sources.files_spill import Spill, SpillCursor, SpillPlan
from headrace.sources.page import end_of
from headrace.sources.paging import cut_pages
from headrace.sources.sqlite_clock import EpochFormat, recognise

_KEPT_SPILLS: Final = 4
_REASON: Final = "files have no fence: a row that comes with an older cursor is found by reconciliation"


class FilesReader:
    """`SourceReader` of the files in a directory. A relation's files are copied when their content is not
    the one that was copied last; until then its rows come from the copy."""

    def __init__(self, app_id: str, url: str) -> None:
        self._app_id = app_id
        self._directory = Directory(app_id, url)
        self._identities = Identities(app_id)
        self._shapes: dict[Relation, tuple[str, Shape]] = {}
        self._spills: OrderedDict[tuple[Any, ...], tuple[str, Spill]] = OrderedDict()
        self._streaming = False

    def describe(self, relation: Relation) -> TableFacts:
        """Raises RelationUnavailableError for files that are not there in a directory that is."""
        try:
            return shape_of(self._app_id, self._directory.files(relation)).facts
        except SourceUnavailableError as error:
            if not self._directory.root.is_dir():
                raise
            raise RelationUnavailableError(str(error)) from error

    def tables(self) -> tuple[TableListing, ...]:
        return listed(self._app_id, self._directory.everything())

    def identity(self, relation: Relation) -> SourceIdentity | None:
        """None: files are told by what they hold."""
        del relation
        return None

    def change_token(self) -> str | None:
        """Changes with the content of any file that this reader has read: its names and times are looked
        at, and its bytes only when those cannot tell."""
        return "\n".join(
            self._identities.of(self._directory.files(relation))
            for relation in sorted(self._shapes, key=repr)
        )

    def fence(self, plan: ReadPlan, previous_state: str | None) -> Fence:
        """There is no bound: whoever writes a file may put older rows into it at any time."""
        del previous_state  # nothing is to be remembered
        clock = datetime.now(UTC)
        if plan.cursor is None:
            self._known(plan.relation)[1].require(self._app_id, plan)
            return Fence(now=None, bound=None, feed_class=FeedClass.EVENTUAL, reason="there is no cursor")
        with self._not_streaming():
            now = _clock_text(self._spill(plan), clock)
        reason = _REASON if now else f"the cursor {plan.cursor} holds no times; {_REASON}"
        return Fence(now=now, bound=None, feed_class=FeedClass.EVENTUAL, reason=reason)

    def examine(self, plan: ReadPlan, *, limit_s: float) -> Examination:
        """Nothing: files have no indexes, and are read whole."""
        del plan, limit_s
        return Examination()

    def quiet(self, plan: ReadPlan, previous_state: str | None, after: Position | None) -> Fence | None:  # noqa: ARG002
        """None: the token of changes says it at less cost."""
        return None

    def rank(self, plan: ReadPlan, cursor: str) -> Any:
        rank = rank_of(cursor, plan.time_zone)
        if rank is None:
            raise SourceDriftError(
                f'{self._app_id}: "{cursor}" has no order as a value of the cursor {plan.cursor}'
            )
        return rank

    @contextmanager
    def read(self, plan: ReadPlan, selection: Selection) -> Iterator[Iterator[Page]]:
        """Pages of one content of the files, whatever happens to them meanwhile."""
        if isinstance(selection, KeyRange) and selection.limit == 0:
            self._known(plan.relation)[1].require(self._app_id, plan)  # no file is copied for no row
            yield iter(())
            return
        with self._not_streaming():
            spill = self._spill(plan)
            with spill_translated(self._app_id):
                cursor = spill.select(plan, selection)
        self._streaming = True
        try:
            yield self._pages(cursor, plan, by_cursor=isinstance(selection, Since))
        finally:
            self._streaming = False
            cursor.close()

    def close(self) -> None:
        """The copies are gone."""
        while self._spills:
            self._spills.popitem()[1][1].close()

    def _pages(self, cursor: SpillCursor, plan: ReadPlan, *, by_cursor: bool) -> Iterator[Page]:
        cut = cut_pages(
            cursor.take,
            lambda rows: (rows.num_rows, rows.nbytes),
            page_rows=plan.page_rows,
            page_bytes=plan.page_bytes,
        )
        while True:
            with spill_translated(self._app_id):
                page = next(cut, None)
            if page is None:
                return
            rows = pa.concat_tables(page).combine_chunks()
            yield Page(rows, end_of(rows, plan, by_cursor=by_cursor))

    @contextmanager
    def _not_streaming(self) -> Iterator[None]:
        if self._streaming:
            raise InvariantError("a reader was asked something while it streams a snapshot")
        yield

    def _known(self, relation: Relation) -> tuple[str, Shape, tuple[SourceFile, ...]]:
        """Content, columns and files of the relation as they are now."""
        files = self._directory.files(relation)
        identity = self._identities.of(files)
        known = self._shapes.get(relation)
        if known is None or known[0] != identity:
            known = self._shapes[relation] = (identity, shape_of(self._app_id, files))
        return *known, files

    def _spill(self, plan: ReadPlan) -> Spill:
        """The copy of what the files hold now, with every column of the plan."""
        identity, shape, files = self._known(plan.relation)
        shape.require(self._app_id, plan)
        place = (plan.relation, plan.cursor, plan.time_zone, plan.max_cell_bytes)
        content, spill = self._spills.pop(place, (None, None))
        wanted = dict.fromkeys((*plan.columns, *plan.key, *((plan.cursor,) if plan.cursor else ())))
        if spill is not None and (content != identity or not wanted.keys() <= set(spill.plan.columns)):
            if content == identity:
                wanted |= dict.fromkeys(spill.plan.columns)
            spill.close()
            spill = None
        if spill is None:
            self._identities.await_ends(files)
            spill = self._copied(plan, tuple(wanted), shape, files)
            if self._identities.of(self._directory.files(plan.relation)) != identity:
                spill.close()
                raise being_written(self._app_id, str(plan.relation.table))
        self._spills[place] = identity, spill
        while len(self._spills) > _KEPT_SPILLS:
            self._spills.popitem(last=False)[1][1].close()
        return spill

    def _copied(
        self, plan: ReadPlan, columns: tuple[str, ...], shape: Shape, files: tuple[SourceFile, ...]
    ) -> Spill:
        spill_plan = SpillPlan(
            columns=columns,
            numeric=shape.numeric & set(columns),
            cursor=plan.cursor,
            time_zone=plan.time_zone,
            max_cell_bytes=plan.max_cell_bytes,
        )
        with spill_translated(self._app_id):
            spill = Spill(self._app_id, str(plan.relation.table), spill_plan)
            try:
                for file in files:
                    self._load(spill, file)
                spill.finish()
            except BaseException:
                spill.close()
                raise
        return spill

    def _load(self, spill: Spill, file: SourceFile) -> None:
        columns = spill.plan.columns
        with translated(self._app_id, file.name):
            if file.format is Format.PARQUET:
                spill.load(read_parquet(file, columns))
                return
            way = Way()
            while True:
                try:
                    spill.load(read_csv(self._app_id, file, columns, way=way))
                except CannotReadSoError as error:
                    following = way.after(error)
                    if following is None:
                        raise self._unreadable(file, error) from error
                    way = following
                else:
                    return

    def _unreadable(self, file: SourceFile, error: CannotReadSoError) -> ConfigurationError:
        if isinstance(error, SubstituteTakenError):
            return ConfigurationError(
                f'{self._app_id}: "{file.name}" is not in UTF-8, and has control characters that no text has;'
                " save it as UTF-8",
                code=ErrorCode.SOURCE_FILE_UNUSABLE,
            )
        return ConfigurationError(
            f'{self._app_id}: "{file.name}" has a line of more than {BLOCKS[-1] >> 20} MiB; is a quote'
            " opened there and never closed?",
            code=ErrorCode.SOURCE_FILE_UNUSABLE,
        )


def _clock_text(spill: Spill, clock: datetime) -> str | None:
    """The clock as a value of the cursor; None when its values are no times (or there are none)."""
    if spill.has_times:
        return clock.isoformat()
    ranks = spill.extreme_ranks()
    found = None if ranks is None else recognise(ranks)
    return found.render(clock) if isinstance(found, EpochFormat) else None
