"""Customers' tokens, minted and revoked by the staff's backend, and the keys that sign them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from headrace.control.signing_keys import KeyLine
from headrace.web.auth import STAFF_PATH, NotABrowser, Staff, StaffWriter
from headrace.web.context import App, Minting
from headrace.web.customer_token import MAX_TTL_S, SCOPES, TTL_S, MintedToken

router = APIRouter(prefix=STAFF_PATH, tags=["tokens"])


def _whole(value: Any) -> Any:
    """60.0 is an integer of JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class MintBody(BaseModel):
    """How long the token lives, and what it may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl_s: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_TTL_S, strict=True)] = TTL_S
    scopes: Annotated[tuple[Literal["records:read"], ...], Field(max_length=len(SCOPES))] = ("records:read",)


class TokenAnswer(BaseModel):
    """A customer's token: for the `Authorization: Bearer` header of `/embed/v1`, until it expires."""

    model_config = ConfigDict(frozen=True)

    token: str
    expires_at: datetime

    @classmethod
    def of(cls, minted: MintedToken) -> TokenAnswer:
        return cls(token=minted.text, expires_at=minted.expires_at)


class Revoked(BaseModel):
    """The customer whose tokens are void now."""

    model_config = ConfigDict(frozen=True)

    id: str
    provided_id: str


class SigningKeyLine(BaseModel):
    """A key by the `kid` that its tokens carry; nobody is told its secret."""

    model_config = ConfigDict(frozen=True)

    kid: str
    algorithm: str
    state: Literal["active", "verify_only", "revoked"]
    made_at: datetime


class SigningKeys(BaseModel):
    """All keys of the group, the oldest first."""

    model_config = ConfigDict(frozen=True)

    items: tuple[SigningKeyLine, ...]
    next: None = None


@router.post(
    "/customers/{customer}/tokens",
    summary="Mint a token for a customer",
    status_code=201,
    dependencies=[NotABrowser],
)
def mint(
    app: App, staff: StaffWriter, minting: Minting, customer: str, body: MintBody | None = None
) -> TokenAnswer:
    """For the customer's browser, which calls `/embed/v1` with it. `customer`: the id, or `provided:` and the
    provided id. A browser itself is refused: the API token must not be there."""
    asked = body or MintBody()
    group = staff.visibility_group
    subject = app.token_subjects.to_mint(customer, visibility_group=group, actor=staff.actor)
    return TokenAnswer.of(minting.mint(subject, ttl_s=asked.ttl_s, scopes=asked.scopes))


@router.post("/customers/{customer}/tokens/revoke", summary="Revoke all tokens of a customer")
def revoke(app: App, staff: StaffWriter, customer: str) -> Revoked:
    """Whatever was minted until now is refused from now on; other processes follow within a second."""
    subject = app.token_subjects.revoke(customer, visibility_group=staff.visibility_group, actor=staff.actor)
    return Revoked(id=subject.id, provided_id=subject.provided_id)


@router.get("/signing-keys", summary="List the keys that sign customers' tokens")
def list_keys(app: App, staff: Staff) -> SigningKeys:
    keys = app.signing_keys.list(staff.visibility_group)
    return SigningKeys(items=tuple(_key_line(key) for key in keys))


@router.post("/signing-keys/rotate", summary="Sign with a new key", status_code=201)
def rotate(app: App, staff: StaffWriter) -> SigningKeyLine:
    """Tokens of the one before stay good until they expire, or that key is revoked."""
    return _key_line(app.signing_keys.rotate(staff.visibility_group, actor=staff.actor))


@router.post("/signing-keys/{kid}/revoke", summary="Revoke a key, and every token that it signed")
def revoke_key(app: App, staff: StaffWriter, kid: str) -> SigningKeyLine:
    """Of the active one: the next token that is minted makes a new one."""
    group = staff.visibility_group
    return _key_line(app.signing_keys.revoke(kid, visibility_group=group, actor=staff.actor))


def _key_line(key: KeyLine) -> SigningKeyLine:
    return SigningKeyLine(kid=key.id, algorithm=key.algorithm, state=key.state, made_at=key.made_at)
