"""Headrace: one merged, fresh record per user, account or thing out of many databases."""

import os
import sys

if sys.platform in {"linux", "darwin"}:
    # Arrow chooses its allocator once, at its import. Its default, mimalloc, keeps what pages have used: some
    # 70 MiB more of a first load than jemalloc.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
