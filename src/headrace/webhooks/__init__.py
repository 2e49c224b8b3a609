"""Deliveries of record events by HTTP: the only code of the relay that knows httpx."""
