"""Record events as the outside gets them: CloudEvents 1.0 in JSON, structured mode.

Source: CloudEvents 1.0.2 and its JSON event format; `sequence` is its extension of that name.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from headrace.domain.record_event import RecordEvent
from headrace.domain.vocabulary import DataSourceId

CONTENT_TYPE: Final = "application/cloudevents+json"
_IDS: Final = uuid.UUID("3f1f3a52-6e0b-4d0e-9b7b-5a0c2d0e4f61")
_SEQUENCE_DIGITS: Final = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where events come from.

    Attributes:
        workspace: the id of this installation.
    """

    workspace: str
    data_source: DataSourceId
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event on its way.

    Attributes:
        seq: see `RecordEvent`.
        id: the same, however often it is sent.
        routing_key: `<schema>.<model>.<created|updated|deleted>`.
        record: names the record, in its data source and model.
    """

    seq: int
    id: str
    routing_key: str
    record: tuple[str, str]
    body: bytes


def cloud_event(event: RecordEvent, origin: Origin) -> CloudEvent:
    """The event with everything that a consumer needs. Values are told as by the HTTP API."""
    named = f"{event.merge}\0{event.model}\0{event.customer}\0{event.key}"
    id_ = str(uuid.uuid5(_IDS, named))
    attributes = {
        "specversion": "1.0",
        "id": id_,
        "source": f"/headrace/{origin.workspace}/data_sources/{origin.data_source}",
        "type": f"headrace.record.{event.kind}",
        "subject": _subject(event),
        "time": event.at,
        "datacontenttype": "application/json",
        "sequence": str(event.seq).zfill(_SEQUENCE_DIGITS),
    }
    about = {
        "schema": origin.schema,
        "model": event.model,
        "customer": event.customer,
    }
    # The record's own text: no number passes through a float that is none.
    told = f'"key":{event.key},"changed":{_json(event.changed)},"record":{event.record or "null"}'
    data = f"{_members(about)},{told}}}"
    return CloudEvent(
        seq=event.seq,
        id=id_,
        routing_key=f"{origin.schema}.{event.model}.{event.kind}",
        record=(event.customer, event.key),
        body=f'{_members(attributes)},"data":{data}}}'.encode(),
    )


def _members(values: dict[str, str]) -> str:
    """A JSON object that is not closed yet."""
    return _json(values)[:-1]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _subject(event: RecordEvent) -> str:
    """`<model>/<customer>/<part of the key>…`, each escaped."""
    parts = [event.model, event.customer, *(_part(value) for value in json.loads(event.key).values())]
    return "/".join(quote(part, safe="") for part in parts)


def _part(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
