"""The internal messages: ids only, versioned, frozen. Their JSON is kept by golden files
(tests/unit/golden): a changed meaning is a new version, which older workers drop and the sweeper
makes again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1


class PollFeed(_Message):
    """There may be something to read in this feed."""

    feed_id: str = Field(min_length=1)


class ReconcileFeed(_Message):
    """This feed is to be compared with its source: by keys, or in `full` by values too."""

    feed_id: str = Field(min_length=1)
    full: bool


class MergeModel(_Message):
    """There may be batches to merge into this model in this data source."""

    data_source_id: str = Field(min_length=1)
    model: str = Field(min_length=1)


Message = PollFeed | ReconcileFeed | MergeModel
