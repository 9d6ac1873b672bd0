"""Asks an archive of events questions with DuckDB: counts by stream, gaps by a window function, batches whose events are all
there. Prints the answers as JSON."""

import json
import pathlib
import sys
import uuid

import duckdb

# Where a number is missing before an event: between it and the one before it, or before the first.
GAPS = """
    SELECT tenant_id, store_id, before + 1 AS first, sequence_number - 1 AS last
    FROM (
        SELECT tenant_id, store_id, sequence_number,
               coalesce(lag(sequence_number) OVER (PARTITION BY tenant_id, store_id ORDER BY sequence_number), 0) AS before
        FROM events
    )
    WHERE sequence_number > before + 1
    ORDER BY ALL
"""

BATCHES = """
    SELECT count(*), count(*) FILTER (present = leaf_count), coalesce(sum(leaf_count), 0), coalesce(sum(present), 0)
    FROM (
        SELECT c.batch_id, any_value(c.leaf_count) AS leaf_count, count(e.event_id) AS present
        FROM commitments c
        LEFT JOIN events e ON e.tenant_id = c.tenant_id AND e.store_id = c.store_id
            AND e.sequence_number BETWEEN c.sequence_start AND c.sequence_end
        GROUP BY c.batch_id
    )
"""


def of_uuid(value) -> str:
    """A UUID comes as one, or as its bytes."""
    return str(uuid.UUID(bytes=bytes(value)) if isinstance(value, (bytes, bytearray)) else value)


def main(root: pathlib.Path) -> None:
    manifest = json.loads(max((root / "manifest").glob("*.json")).read_text())
    files = [str(root / file["path"]) for stream in manifest["streams"] for file in stream["files"]]
    tables = {
        "events": files,
        "commitments": [str(root / obj["path"]) for obj in manifest["commitments"]],
        "keys": [str(root / manifest["keys"]["path"])],
    }
    db = duckdb.connect()
    for name, paths in tables.items():
        if paths:
            db.read_parquet(paths).create_view(name)
    one = lambda sql: db.sql(sql).fetchall()
    streams = one("SELECT tenant_id, store_id, count(*), min(sequence_number), max(sequence_number) FROM events GROUP BY ALL")
    batches, whole, promised, present = one(BATCHES)[0] if tables["commitments"] else (0, 0, 0, 0)
    print(
        json.dumps(
            {
                "events": one("SELECT count(*) FROM events")[0][0],
                "event_ids": one("SELECT count(DISTINCT event_id) FROM events")[0][0],
                "receipts": one("SELECT count(receipt_hash) FROM events")[0][0],
                "keys": one("SELECT count(*) FROM keys")[0][0],
                "streams": {
                    f"{of_uuid(tenant)}/{of_uuid(store)}": [count, first, last]
                    for tenant, store, count, first, last in streams
                },
                "gaps": [[f"{of_uuid(t)}/{of_uuid(s)}", first, last] for t, s, first, last in one(GAPS)],
                "batches": int(batches),
                "batches_whole": int(whole),
                "batch_events": [int(promised), int(present)],
                "time_type": one("SELECT typeof(sequenced_at) FROM events LIMIT 1")[0][0],
            }
        )
    )


main(pathlib.Path(sys.argv[1]))
