"""`python -m benchmarks.sqlite_by_hand SOURCE STORE`: users merged by key from one file into another by
`executemany` of an upsert, in one durable transaction: what one writes without Headrace."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

from benchmarks.sqlite import TABLE
from benchmarks.users import COLUMNS


def main() -> None:
    source_file, store_file = sys.argv[1:]
    names = ", ".join(COLUMNS)
    changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
    upsert = (
        f"INSERT INTO users ({names}) VALUES ({', '.join('?' * len(COLUMNS))})"
        f" ON CONFLICT (id) DO UPDATE SET {changes}"
    )
    with closing(sqlite3.connect(source_file)) as source, closing(sqlite3.connect(store_file)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute(TABLE)
        with store:
            rows = source.execute(f"SELECT {names} FROM users")
            store.executemany(upsert, rows)


if __name__ == "__main__":
    main()
