"""The pipeline that a user of dlt writes: `dlt_pipeline.py SOURCE_URL TARGET_URL DIRECTORY`, in dlt's own
environment."""

import sys

import dlt
from dlt.sources.credentials import ConnectionStringCredentials
from dlt.sources.sql_database import sql_table


def main() -> None:
    source_url, target_url, directory = sys.argv[1:]
    users = sql_table(
        credentials=ConnectionStringCredentials(source_url),
        table="users",
        schema="public",
        backend="connectorx",
        chunk_size=100_000,
        incremental=dlt.sources.incremental("updated_at"),
        reflection_level="full_with_precision",
    )
    users.apply_hints(primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"})
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=directory,
        destination=dlt.destinations.postgres(credentials=target_url),
        dataset_name="public",
    )
    pipeline.run(users).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
