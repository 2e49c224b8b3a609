"""How long lists are asked for and answered: in pages, each of which says where the next begins."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="Items on the page, at most.")]
After = Annotated[str | None, Query(max_length=2000, description="The `next` of the page before.")]


class Listed(BaseModel, Generic[T]):
    """A page of a list; `next` is null at its end."""

    model_config = ConfigDict(frozen=True)

    items: tuple[T, ...]
    next: str | None = None
