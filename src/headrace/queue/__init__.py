"""The only code that knows dramatiq and kombu. The broker carries nudges; truth is in SQL."""
