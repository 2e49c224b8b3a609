"""`python -m benchmarks.mariadb_read URL`: the users as CSV, read row by row by PyMySQL's SSCursor: the first
half of what one writes without Headrace; psql takes it from there."""

from __future__ import annotations

import csv
import sys
from contextlib import closing

import pymysql

from benchmarks.mariadb import connection
from benchmarks.users import COLUMNS

NULL = "\\N"
"""An empty text is none."""


def main() -> None:
    (url,) = sys.argv[1:]
    statement = f"SELECT {', '.join(COLUMNS)} FROM users"
    with closing(connection(url, cursorclass=pymysql.cursors.SSCursor)) as source, source.cursor() as cursor:
        cursor.execute(statement)
        write = csv.writer(sys.stdout).writerow
        for row in cursor:
            write([NULL if value is None else value for value in row])


if __name__ == "__main__":
    main()
