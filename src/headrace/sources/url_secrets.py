"""What of an app's URL no message may show."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import unquote, urlsplit

E = TypeVar("E", bound=Exception)


class UrlSecrets:
    """The URL itself and its passwords, taken out of what drivers say."""

    def __init__(self, url: str) -> None:
        passwords = _passwords(url)
        found = {url, *passwords, *map(unquote, passwords)} - {""}
        self._longest_first = sorted(found, key=len, reverse=True)

    def scrubbed(self, text: str) -> str:
        for secret in self._longest_first:
            text = text.replace(secret, "***")
        return text

    def cause(self, error: E) -> E | None:
        """The error as the cause of its translation; None when its own words would tell a secret."""
        return None if self.scrubbed(str(error)) != str(error) else error


def _passwords(url: str) -> set[str]:
    """As written: that of the user, and those of the query, where libpq takes one from too."""
    try:
        parts = urlsplit(url)
        of_user = parts.password or ""
    except ValueError:
        return set()
    pairs = (part.partition("=") for part in parts.query.split("&"))
    return {of_user} | {value for name, _, value in pairs if name == "password"}
