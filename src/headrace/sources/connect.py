"""One place that turns an app's URL into the reader of its dialect."""

from __future__ import annotations

from headrace.errors import ConfigurationError, ErrorCode
from headrace.ports import SourceReader
from headrace.sources.shared_look import SharedLooks


def open_reader(app_id: str, url: str, *, nonce: str, looks: SharedLooks | None = None) -> SourceReader:
    """A reader of the app's database; it connects when first asked something.

    Args:
        nonce: marks this workspace's reading sessions, so that its fences do not wait for its own reads.
        looks: what readers of one database in this process share.

    Raises:
        ConfigurationError: the URL's scheme names no dialect that can be read.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in {"postgresql", "postgres"}:
        from headrace.sources.postgres import PostgresReader

        return PostgresReader(app_id, url, nonce=nonce, shared=None if looks is None else looks.of(url))
    if scheme == "sqlite":
        from headrace.sources.sqlite import SqliteReader

        return SqliteReader(app_id, url)
    if scheme == "file":
        from headrace.sources.files import FilesReader

        return FilesReader(app_id, url)
    if scheme in {"mysql", "mariadb"}:
        from headrace.sources.mysql import MysqlReader

        return MysqlReader(app_id, url, nonce=nonce)
    raise ConfigurationError(
        f"{app_id}: the URL must begin with postgresql://, mysql://, mariadb://, sqlite:/// or file:///",
        code=ErrorCode.SOURCE_URL_INVALID,
    )
