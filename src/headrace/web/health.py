"""`/healthz`, `/readyz` and `/metrics`: for whoever runs the process; they need no token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from headrace import logs
from headrace.metrics import REGISTRY
from headrace.web.context import App

log = logs.get(__name__)

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
"""For an API whose metrics have no address of their own."""


class Health(BaseModel):
    """`ready` is false while the control database cannot be worked with; the log says why."""

    model_config = ConfigDict(frozen=True)

    ready: bool


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Asks nobody."""
    return Health(ready=True)


@router.get("/readyz", summary="Can it serve?", responses={503: {"model": Health}})
def readyz(app: App) -> Response:
    """The control database answers, and has every migration. The broker is not asked: records are read
    without it, and what is triggered waits in the control database."""
    problems: list[str] = app.control_problems()
    if problems:
        log.warning("not ready", problems=problems)
    return JSONResponse({"ready": not problems}, 503 if problems else 200)


@metrics_router.get("/metrics", response_class=Response, include_in_schema=False)
def metrics(accept: Annotated[str, Header()] = "") -> Response:
    """This process's, and no customer's: docs/metrics.md lists them."""
    encode, content_type = choose_encoder(accept)
    return Response(encode(REGISTRY), headers={"Content-Type": content_type})
