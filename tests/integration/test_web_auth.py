"""Who may ask the HTTP API: every way to be refused, on every operation."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import sqlalchemy as sa

from headrace.control.audit import SqlAudit
from headrace.control.engine import writing
from headrace.control.signing_keys import SqlSigningKeys
from headrace.control.tables import customer
from headrace.control.token_subjects import SqlTokenSubjects
from headrace.control.tokens import SqlTokens
from headrace.web.customer_token import AUDIENCE, MAX_TTL_S, TYPE
from tests.integration.waiting import until
from tests.integration.web_client import WebClient
from tests.integration.web_site import ME, Site, site_of

NOWHERE = "/nowhere"
"""Behind the gate, and no route: who passes the gate is told 404."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_of(tmp_path) as site:
        yield site


@pytest.fixture
def nobody(site: Site) -> Iterator[WebClient]:
    with WebClient(site.api) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:headrace:problem:{problem['code']}"
    return response.status_code, problem["code"]


UNAUTHENTICATED = (401, "unauthenticated")


def test_every_operation_refuses_who_does_not_say_who_asks(site: Site, nobody: WebClient) -> None:
    operations = site.operations()
    assert len(operations) > 5
    for method, path in operations:
        response = nobody.request(method, path)
        assert code(response) == UNAUTHENTICATED, (method, path)
        assert response.headers["www-authenticate"] == "Bearer"


def test_every_operation_refuses_tokens_of_the_other_kind(site: Site, nobody: WebClient) -> None:
    staff, customers = site.staff_token(), site.customer_token()
    for method, path in [*site.operations(), ("GET", f"/api/v1{NOWHERE}"), ("GET", f"/embed/v1{NOWHERE}")]:
        wrong = customers if path.startswith("/api/") else staff
        assert code(nobody.request(method, path, headers=bearer(wrong))) == UNAUTHENTICATED, (method, path)


def test_a_broken_body_does_not_get_past_the_gate(nobody: WebClient) -> None:
    broken = nobody.post(
        "/api/v1/sources/x/trigger", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert code(broken) == UNAUTHENTICATED


@pytest.mark.parametrize(
    "header",
    [[], ["Basic {}"], ["{}"], ["Bearer"], ["Bearer "], ["Bearer {}x"], ["Bearer x{}"], ["Bearer {} {}"],
     ["Bearer {}", "Bearer {}"], ["Bearer hrt_000000000000_x"], ["Bearer \xff"]],
)  # fmt: skip
def test_only_one_authorization_header_with_a_whole_token_counts(
    site: Site, nobody: WebClient, header: list[str]
) -> None:
    token = site.staff_token()
    headers = [(b"Authorization", text.replace("{}", token).encode("latin-1")) for text in header]
    assert code(nobody.get("/api/v1/signing-keys", headers=headers)) == UNAUTHENTICATED
    assert nobody.get("/api/v1/signing-keys", headers=bearer(token)).status_code == 200
    assert nobody.get("/api/v1/signing-keys", headers={"authorization": f"bearer {token}"}).status_code == 200


def test_a_token_that_only_reads_changes_nothing(site: Site) -> None:
    with site.client(access="read") as reader:
        for method, path in site.operations():
            if method != "GET" and path.startswith("/api/"):
                assert code(reader.request(method, path)) == (403, "forbidden"), (method, path)
        # Whether there is such an operation or not.
        assert code(reader.post(f"/api/v1{NOWHERE}")) == (403, "forbidden")
        assert reader.get("/api/v1/signing-keys").status_code == 200


def test_a_revoked_api_token_is_refused_at_once(site: Site) -> None:
    token = site.staff_token()
    with WebClient(site.api, token) as client:
        assert client.get("/api/v1/signing-keys").status_code == 200
        site.application.tokens.revoke(token.split("_")[1], actor=ME)
        assert code(client.get("/api/v1/signing-keys")) == UNAUTHENTICATED


def test_what_another_process_revokes_is_refused_within_moments(site: Site, nobody: WebClient) -> None:
    staff, customers = bearer(site.staff_token()), bearer(site.customer_token())
    globex = bearer(site.customer_token("c-globex"))
    engine = site.application.engine

    def statuses() -> list[int]:
        asked = [("/api/v1", staff), ("/embed/v1", customers), ("/embed/v1", globex)]
        return [nobody.get(path + NOWHERE, headers=headers).status_code for path, headers in asked]

    assert statuses() == [404, 404, 404]
    SqlTokens(engine).revoke(site.staff_token().split("_")[1], actor=ME)
    SqlTokenSubjects(engine).revoke("c-acme", visibility_group="production", actor=ME)
    until(lambda: statuses() == [401, 401, 404], timeout_s=5)
    kid = site.application.signing_keys.active("production").id
    SqlSigningKeys(engine, site.application.vault).revoke(kid, actor=ME)
    until(lambda: statuses() == [401, 401, 401], timeout_s=5)


def test_a_known_token_costs_no_question_to_the_control_database(site: Site, nobody: WebClient) -> None:
    asked: list[str] = []
    staff, customers = bearer(site.staff_token()), bearer(site.customer_token())

    def statuses() -> list[int]:
        paths = ((f"/api/v1{NOWHERE}", staff), (f"/embed/v1{NOWHERE}", customers))
        return [nobody.get(path, headers=headers).status_code for path, headers in paths]

    statuses()
    engine = site.application.engine
    sa.event.listen(engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
    assert statuses() == [404, 404]
    assert asked == []


def test_tries_of_a_token_that_is_known_are_audited_but_not_each_of_them(
    site: Site, nobody: WebClient
) -> None:
    token = site.staff_token()
    for _ in range(3):
        nobody.get("/api/v1/signing-keys", headers=bearer(token[:-1]))
        nobody.get("/api/v1/signing-keys", headers=bearer("hrt_000000000000_guess"))
    lines = [entry.line for entry in SqlAudit(site.application.engine).list(limit=10).items]
    tries = [line for line in lines if line.action == "authenticate"]
    assert [(line.token_id, line.outcome, line.visibility_group) for line in tries] == [
        (token.split("_")[1], "refused", "production")
    ]


# --- customers' tokens --------------------------------------------------------------------------


class Forge:
    """Makes what a minted token is made of, and then something else of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.text = site.customer_token()
        self.key = site.application.signing_keys.active("production")
        self.header = jwt.get_unverified_header(self.text)
        self.claims: dict[str, Any] = jwt.decode(self.text, options={"verify_signature": False})

    def signed(
        self, claims: dict[str, Any] | None = None, *, secret: bytes | None = None, algorithm: str = "HS256",
        without: str | None = None, **header: Any,
    ) -> str:  # fmt: skip
        altered = {k: v for k, v in {**self.claims, **(claims or {})}.items() if k != without}
        secret = self.key.secret if secret is None else secret
        return jwt.encode(altered, secret, algorithm, headers={**self.header, "alg": algorithm, **header})


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


FORGERIES = {
    "alg none": lambda f: f"{_part({**f.header, 'alg': 'none'})}.{_part(f.claims)}.",
    "alg none, signed": lambda f: f"{_part({**f.header, 'alg': 'none'})}.{f.text.split('.', 1)[1]}",
    "no signature": lambda f: f.text.rsplit(".", 1)[0] + ".",
    "another algorithm than the key's": lambda f: f.signed(algorithm="HS512"),
    "another secret": lambda f: f.signed(secret=b"x" * 32),
    "an empty secret": lambda f: f.signed(secret=b"\0"),
    "other claims under the signature": lambda f: ".".join(
        [f.text.split(".")[0], _part({**f.claims, "sub": "globex"}), f.text.split(".")[2]]
    ),
    "unknown kid": lambda f: f.signed(kid="unknown"),
    "kid that is no text": lambda f: f"{_part({**f.header, 'kid': 7})}.{f.text.split('.', 1)[1]}",
    "kid with NUL": lambda f: f.signed(kid="\0"),
    "no kid": lambda f: f"{_part({'alg': 'HS256', 'typ': TYPE})}.{f.text.split('.', 1)[1]}",
    "typ JWT": lambda f: f.signed(typ="JWT"),
    "other aud": lambda f: f.signed({"aud": "headrace-staff"}),
    "list of aud": lambda f: f.signed({"aud": [AUDIENCE, "another"]}),
    "other installation": lambda f: f.signed({"iss": "another"}),
    "expired": lambda f: f.signed({"iat": int(time.time()) - 900, "exp": int(time.time()) - 1}),
    "expires now": lambda f: f.signed({"exp": int(time.time())}),
    "made in the future": lambda f: f.signed({"iat": int(time.time()) + 300, "exp": int(time.time()) + 600}),
    "lives too long": lambda f: f.signed({"exp": f.claims["iat"] + MAX_TTL_S + 1}),
    "expires as a text": lambda f: f.signed({"exp": str(f.claims["exp"])}),
    "expires never": lambda f: f.signed({"exp": 1e400}),
    "other version": lambda f: f.signed({"tv": f.claims["tv"] + 1}),
    "version that only compares equal": lambda f: f.signed({"tv": float(f.claims["tv"])}),
    "version true": lambda f: f.signed({"tv": True}),
    "another customer's id": lambda f: f.signed({"cid": "c-globex"}),
    "another customer's name": lambda f: f.signed({"sub": "globex"}),
    "the same name in another group": lambda f: f.signed({"cid": "t-acme"}),
    "scopes that are no list": lambda f: f.signed({"scopes": "records:read"}),
    "not before a later time": lambda f: f.signed({"nbf": int(time.time()) + 300}),
    "critical extension": lambda f: f.signed(crit=["b64"], b64=False),
    "no JWT": lambda f: "a.b.c",
} | {
    f"without {claim}": partial(Forge.signed, without=claim)
    for claim in ("iss", "aud", "sub", "cid", "iat", "exp", "jti", "scopes", "tv")
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_customer_token_is_refused_everywhere(site: Site, nobody: WebClient, forgery: str) -> None:
    forge = Forge(site)
    assert nobody.get(f"/embed/v1{NOWHERE}", headers=bearer(forge.text)).status_code == 404
    forged = FORGERIES[forgery](forge)
    paths = [path for method, path in site.operations() if method == "GET" and path.startswith("/embed/")]
    for path in (*paths, f"/embed/v1{NOWHERE}"):
        response = nobody.get(path, headers=bearer(forged))
        assert code(response) == UNAUTHENTICATED
        assert "ask for a new one" in response.json()["detail"]


def test_a_key_of_another_group_signs_for_nobody_here(site: Site, nobody: WebClient) -> None:
    forge = Forge(site)
    testing = site.application.signing_keys.active("testing")
    forged = forge.signed(secret=testing.secret, kid=testing.id)
    assert code(nobody.get(f"/embed/v1{NOWHERE}", headers=bearer(forged))) == UNAUTHENTICATED


def test_a_minted_token_says_nothing_of_a_data_source(site: Site) -> None:
    forge = Forge(site)
    assert forge.header == {"alg": "HS256", "kid": forge.key.id, "typ": TYPE}
    assert set(forge.claims) == {"iss", "aud", "sub", "cid", "iat", "exp", "jti", "scopes", "tv"}
    assert forge.claims["sub"] == "acme"
    assert forge.claims["exp"] - forge.claims["iat"] == 15 * 60
    assert site.customer_token() != site.customer_token()


@pytest.mark.parametrize("ending", ["revoked", "key revoked", "deleted", "renamed", "deleted and made again"])
def test_a_token_ends_with_what_it_stands_on(site: Site, nobody: WebClient, ending: str) -> None:
    token, others = bearer(site.customer_token()), bearer(site.customer_token("t-acme"))
    with site.client() as staff:
        assert nobody.get(f"/embed/v1{NOWHERE}", headers=token).status_code == 404
        if ending == "revoked":
            assert staff.post("/api/v1/customers/provided:acme/tokens/revoke").status_code == 200
        elif ending == "key revoked":
            (key,) = staff.get("/api/v1/signing-keys").json()["items"]
            assert staff.post(f"/api/v1/signing-keys/{key['kid']}/revoke").json()["state"] == "revoked"
        else:
            _alter_customer(site, ending)
    assert code(nobody.get(f"/embed/v1{NOWHERE}", headers=token)) == UNAUTHENTICATED
    assert nobody.get(f"/embed/v1{NOWHERE}", headers=others).status_code == 404


def _alter_customer(site: Site, ending: str) -> None:
    with writing(site.application.engine) as connection:
        this = customer.c.id == "c-acme"
        if ending == "renamed":
            connection.execute(sa.update(customer).where(this).values(provided_id="acme 2"))
        elif ending == "deleted":
            connection.execute(sa.delete(customer).where(this))
        else:
            connection.execute(sa.update(customer).where(this).values(id="another"))
    site.application.token_subjects.forget()


def test_a_token_expires_while_it_is_remembered(site: Site, nobody: WebClient) -> None:
    token = bearer(site.customer_token(ttl_s=1))
    until(lambda: nobody.get(f"/embed/v1{NOWHERE}", headers=token).status_code == 401, timeout_s=5)


def test_tokens_of_the_key_before_stay_good_after_a_rotation(site: Site, nobody: WebClient) -> None:
    before = bearer(site.customer_token())
    with site.client() as staff:
        made = staff.post("/api/v1/signing-keys/rotate")
        assert made.status_code == 201
        states = [key["state"] for key in staff.get("/api/v1/signing-keys").json()["items"]]
    after = site.customer_token()
    assert states == ["verify_only", "active"]
    assert jwt.get_unverified_header(after)["kid"] == made.json()["kid"]
    for token in (before, bearer(after)):
        assert nobody.get(f"/embed/v1{NOWHERE}", headers=token).status_code == 404


# --- minting ------------------------------------------------------------------------------------


def test_a_token_is_minted_for_a_customer_of_the_group_alone(site: Site, nobody: WebClient) -> None:
    with site.client() as staff:
        minted = staff.post("/api/v1/customers/provided:acme/tokens", json={"ttl_s": 60})
        assert minted.status_code == 201
        assert nobody.get(f"/embed/v1{NOWHERE}", headers=bearer(minted.json()["token"])).status_code == 404
        claims = jwt.decode(minted.json()["token"], options={"verify_signature": False})
        assert (claims["cid"], claims["exp"] - claims["iat"]) == ("c-acme", 60)
        answers = [
            staff.post(f"/api/v1/customers/{name}/tokens") for name in ("t-acme", "nobody", "provided:x")
        ]
        answers.append(staff.post("/api/v1/customers/t-acme/tokens/revoke"))
    assert {code(answer) for answer in answers} == {(404, "not_found")}


@pytest.mark.parametrize(
    "header", [{"Origin": "https://app.test"}, {"Sec-Fetch-Mode": "cors"}, {"Origin": "null"}]
)
def test_no_token_is_minted_for_a_browser(site: Site, header: dict[str, str]) -> None:
    with site.client() as staff:
        assert code(staff.post("/api/v1/customers/c-acme/tokens", headers=header)) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [{"ttl_s": 0}, {"ttl_s": MAX_TTL_S + 1}, {"ttl_s": "60"}, {"ttl_s": 1.5}, {"scopes": ["records:write"]},
     {"scopes": "records:read"}, {"customer": "globex"}, {"data_source_id": "main"}, []],
)  # fmt: skip
def test_a_mint_that_asks_for_more_is_refused(site: Site, body: Any) -> None:
    with site.client() as staff:
        assert code(staff.post("/api/v1/customers/c-acme/tokens", json=body)) == (422, "invalid_request")


def test_keys_of_another_group_are_not_there(site: Site) -> None:
    kid = site.application.signing_keys.active("production").id
    with site.client("testing") as staff:
        assert staff.get("/api/v1/signing-keys").json()["items"] == []
        assert code(staff.post(f"/api/v1/signing-keys/{kid}/revoke")) == (404, "not_found")
    assert site.application.signing_keys.usable(kid) is not None


# --- the audit ----------------------------------------------------------------------------------


def test_the_audit_shows_what_was_done_and_refused_in_the_group_alone(site: Site) -> None:
    with site.client() as staff, site.client("testing") as other:
        other.post("/api/v1/customers/t-acme/tokens")
        staff.post("/api/v1/customers/c-acme/tokens")
        staff.post("/api/v1/customers/t-acme/tokens")
        answer = staff.get("/api/v1/audit", params={"limit": 2}).json()
        actor = f"token:{site.staff_token().split('_')[1]}"
        assert [(line["action"], line["outcome"], line["customer"]) for line in answer["items"]] == [
            ("customer.mint_token", "refused", "t-acme"),
            ("customer.mint_token", "done", "acme"),
        ]
        assert {line["actor"] for line in answer["items"]} == {actor}
        assert answer["items"][0]["detail"]["code"] == "not_found"
        rest = staff.get("/api/v1/audit", params={"after": answer["next"]}).json()
        assert [line["action"] for line in rest["items"]] == ["token.create"]
        assert len(staff.get("/api/v1/audit?customer=acme").json()["items"]) == 1
        late = staff.get("/api/v1/audit", params={"since": "2100-01-01T00:00:00Z"}).json()
        assert late == {"items": [], "next": None}
        assert staff.get("/api/v1/audit", params={"since": "2024-01-01T00:00:00"}).status_code == 422
