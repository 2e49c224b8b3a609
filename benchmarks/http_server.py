"""The servers that `http_record` measures, each a process: `python -m benchmarks.http_server KIND`.

Both run under uvicorn with the same settings, on a free port that they print.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from psycopg_pool import ConnectionPool

CUSTOMER = "acme"
CONNECTIONS = 10


def main() -> None:
    """`headrace`: the whole API. `bare`: one endpoint that runs the same SQL on a pool of psycopg's."""
    kind = sys.argv[1]
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        if kind == "headrace":
            with _application() as application:
                from headrace.web.app import create_app

                application.route_cache.watch()
                _serve(create_app(application), listener)
        else:
            with ConnectionPool(
                os.environ["BARE_URL"],
                min_size=CONNECTIONS,
                max_size=CONNECTIONS,
                kwargs={"autocommit": True},
            ) as pool:
                _serve(_bare(pool), listener)


def _application() -> Any:
    from headrace import settings, wiring

    return wiring.build(settings.load(), process="web")


def _bare(pool: ConnectionPool[Any]) -> FastAPI:
    """No authentication, no routing, no limits: what the framework and the driver take by themselves."""
    api = FastAPI()
    statement: dict[str, Any] = json.loads(os.environ["BARE_STATEMENT"])
    sql, names = statement["sql"].encode(), statement["names"]

    @api.get("/records/users/{key}")
    def get_record(key: str) -> Any:
        with pool.connection() as connection:
            row = connection.execute(sql, {"p0": CUSTOMER, "p1": key, "p2": CUSTOMER}).fetchone()
        return dict(zip(names, row[2:], strict=True)) if row is not None else None

    return api


def _serve(api: FastAPI, listener: socket.socket) -> None:
    config = uvicorn.Config(api, log_config=None, access_log=False, server_header=False, proxy_headers=False)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
