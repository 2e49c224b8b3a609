"""What handlers are given of the process: the application that they work by, and what mints tokens."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from headrace.web.customer_token import CustomerTokens
from headrace.wiring import Application


def application_of(request: Request) -> Application:
    """The application that `create_app` was given, without the framework's way to it."""
    return cast("Application", request.app.state.application)


# Asynchronous though they wait for nothing: FastAPI sends plain functions through a thread.


async def get_application(request: Request) -> Application:
    """The application that `create_app` was given."""
    return application_of(request)


async def get_customer_tokens(request: Request) -> CustomerTokens:
    """What mints and verifies customers' tokens in this process."""
    return cast("CustomerTokens", request.app.state.customer_tokens)


App = Annotated[Application, Depends(get_application)]
Minting = Annotated[CustomerTokens, Depends(get_customer_tokens)]
