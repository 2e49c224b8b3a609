"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    # Within: `headrace --version` shall not wait for imports, nor shall any other command for this one.
    from importlib.metadata import version as installed

    return installed("headrace")
