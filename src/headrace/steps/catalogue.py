"""The applied definitions, as steps and connections look things up in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from headrace.domain.shape import ModelShape, load_json, shape_fingerprint
from headrace.domain.vocabulary import AppId, DataSourceId, ModelId, SourceId
from headrace.errors import ConfigurationError, ErrorCode
from headrace.ports import FeedPlan
from headrace.steps.applied_document import AppliedDocument

Target = tuple[DataSourceId, ModelId]


@dataclass(frozen=True, slots=True)
class Listened:
    """What is listened to in the database of an app, whose URL this is as defined: channels, each with the
    sources that are read when it is notified."""

    url: str = field(repr=False)
    channels: Mapping[str, tuple[SourceId, ...]]


@dataclass(frozen=True, slots=True)
class AppliedCatalogue:
    """Implements `ports.Catalogue`: one applied version, with the definitions as written.

    Errors: `ConfigurationError` for what is not applied; it says what to run.
    """

    version: int
    plans: Mapping[tuple[SourceId, AppId], FeedPlan]
    models: Mapping[ModelId, ModelShape]
    bodies: Mapping[tuple[str, str], Any]
    contracts: Mapping[ModelId, Mapping[SourceId, str]]

    def feed(self, source_id: SourceId, app_id: AppId) -> FeedPlan:
        try:
            return self.plans[source_id, app_id]
        except KeyError:
            raise _not_applied(f"source {source_id} (app {app_id})") from None

    def model(self, model_id: ModelId) -> ModelShape:
        try:
            return self.models[model_id]
        except KeyError:
            raise _not_applied(f"model {model_id}") from None

    def models_of(self, schema: str) -> list[ModelId]:
        """The models of a schema, in order of their ids."""
        return sorted(model for model in self.models if self.bodies["models", model]["schema"] == schema)

    def contract(self, model_id: ModelId) -> Mapping[SourceId, str]:
        return self.contracts[model_id]

    def app(self, app_id: AppId) -> Mapping[str, Any]:
        """The app's definition as written."""
        return self._body("apps", app_id, word="app")

    def listened(self) -> dict[AppId, Listened]:
        """The apps in whose databases sources listen."""
        heard: dict[AppId, dict[str, tuple[SourceId, ...]]] = defaultdict(dict)
        for source_id, app_id in sorted(self.plans):
            channel = self.bodies["sources", source_id].get("schedule", {}).get("listen")
            if channel is not None:
                heard[app_id][channel] = (*heard[app_id].get(channel, ()), source_id)
        return {app_id: Listened(self.app(app_id)["url"], channels) for app_id, channels in heard.items()}

    def data_source(self, data_source_id: DataSourceId) -> Mapping[str, Any]:
        """The data source's definition as written."""
        return self._body("data_sources", data_source_id, word="data source")

    def targets(self) -> list[Target]:
        """Every data source with each model that it holds."""
        schemas = {id_: body["schema"] for (kind, id_), body in self.bodies.items() if kind == "models"}
        return [
            (DataSourceId(id_), model)
            for (kind, id_), body in sorted(self.bodies.items())
            if kind == "data_sources"
            for model in self.models
            if schemas[model] == body["schema"]
        ]

    def _body(self, kind: str, id_: str, *, word: str) -> Mapping[str, Any]:
        try:
            body: Mapping[str, Any] = self.bodies[kind, id_]
        except KeyError:
            raise _not_applied(f"{word} {id_}") from None
        return body


def catalogue_of(version: int, compiled: str, bodies: Mapping[tuple[str, str], Any]) -> AppliedCatalogue:
    """The catalogue of what was published.

    Args:
        compiled: the text that `ApplyStep` had published.

    Raises:
        ConfigurationError: this version of Headrace cannot read it.
    """
    try:
        document = load_json(AppliedDocument, compiled)
    except ValidationError:
        raise ConfigurationError(
            "another version of Headrace applied the definitions; run `headrace apply`"
        ) from None
    return AppliedCatalogue(
        version=version,
        plans=document.plans,
        models={model.id: model for model in document.models},
        bodies=bodies,
        contracts={
            model.id: {source.id: shape_fingerprint(source) for source in model.sources}
            for model in document.models
        },
    )


def _not_applied(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what} is not applied; run `headrace apply`", code=ErrorCode.NOTHING_APPLIED)
