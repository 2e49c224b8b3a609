"""A product's backend, as small as can be: it knows who is signed in, and mints tokens of their customer.

The API token stays here. The page is given a customer's token, with which its browser asks Headrace itself.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
HEADRACE = os.environ.get("HEADRACE_API", "http://127.0.0.1:8080")
API_TOKEN = os.environ.get("HEADRACE_TOKEN", "")
TTL_S = int(os.environ.get("TOKEN_TTL_S", "900"))
CUSTOMER_OF = {"ada": "acme", "hank": "globex", "peter": "initech"}
"""Whose employee each user is: of a product, a column of its own database."""
FILES = {"/": ("page.html", "text/html; charset=utf-8"), "/page.js": ("page.js", "text/javascript")}
sessions: dict[str, str] = {}


def mint(customer: str) -> dict[str, str]:
    """A new token of the customer, and when it expires."""
    url = f"{HEADRACE}/api/v1/customers/provided:{quote(customer, safe='')}/tokens"
    headers = {"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"}
    asked = Request(url, json.dumps({"ttl_s": TTL_S}).encode(), headers, method="POST")  # noqa: S310
    with urlopen(asked, timeout=10) as answer:  # noqa: S310
        minted: dict[str, str] = json.load(answer)
        return minted


class Backend(BaseHTTPRequestHandler):
    """`POST /sign-in`, `GET /token` for who is signed in, and the page."""

    def do_POST(self) -> None:
        """Signs in without a password: this is an example."""
        user = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.path != "/sign-in" or user not in CUSTOMER_OF:
            return self._answer(404, {"error": "there is no such user"})
        sessions[session := secrets.token_urlsafe()] = user
        cookie = f"session={session}; HttpOnly; SameSite=Strict; Path=/"
        return self._answer(200, {"user": user}, {"Set-Cookie": cookie})

    def do_GET(self) -> None:
        if self.path in FILES:
            name, kind = FILES[self.path]
            return self._send(200, (HERE / name).read_bytes(), kind)
        if self.path != "/token":
            return self._answer(404, {"error": "there is nothing here"})
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        user = sessions.get(cookie.value) if cookie else None
        if user is None:
            return self._answer(401, {"error": "sign in first"})
        try:
            # The customer is who is signed in; whatever the page asks for besides, it gets no other's token.
            minted = mint(CUSTOMER_OF[user])
        except OSError as error:
            sys.stderr.write(f"no token of {CUSTOMER_OF[user]}: {error}\n")
            return self._answer(502, {"error": "the records cannot be shown now"})
        return self._answer(200, minted | {"api": HEADRACE, "user": user})

    def _answer(self, status: int, body: dict[str, str], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", headers or {})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        policy = (
            f"default-src 'self'; style-src 'unsafe-inline'; img-src data:; connect-src 'self' {HEADRACE}"
        )
        told = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        self.send_response(status)
        for name, value in (told | {"Content-Security-Policy": policy} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if not API_TOKEN:
        sys.exit("HEADRACE_TOKEN: set it to what `headrace tokens create backend --group ID --write` prints")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Backend)
    sys.stderr.write(f"http://127.0.0.1:{server.server_port}\n")
    server.serve_forever()
