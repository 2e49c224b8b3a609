"""Headrace beside its peers and the physical limit, as whole processes on real servers."""
