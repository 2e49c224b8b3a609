"""Record stores: the tables of a data source, and merging into them."""

from headrace.stores.connect import open_store

__all__ = ["open_store"]
