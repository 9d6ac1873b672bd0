"""Reads an archive of events with pyarrow, from its newest manifest on, and recomputes the Merkle root of every batch.

Nothing here knows the toolkit's code: the layout of an archive and the hashes are taken from the docs. Prints what it found as
JSON."""

import hashlib
import json
import pathlib
import struct
import sys

import pyarrow.parquet as parquet


def sha256(domain: str, *parts: bytes) -> bytes:
    return hashlib.sha256(domain.encode() + b"".join(parts)).digest()


def merkle_root(leaves: list[bytes]) -> bytes:
    padding = sha256("VES_PAD_LEAF_V1")
    while len(leaves) & (len(leaves) - 1):
        leaves.append(padding)
    while len(leaves) > 1:
        pairs = zip(leaves[::2], leaves[1::2])
        leaves = [sha256("VES_NODE_V1", left, right) for left, right in pairs]
    return leaves[0]


def raw(value) -> bytes:
    """A UUID comes as one, or as its bytes."""
    return getattr(value, "bytes", value)


def rows(root: pathlib.Path, objects: list[dict]) -> list[dict]:
    found = []
    for obj in objects:
        bytes_of = (root / obj["path"]).read_bytes()
        assert len(bytes_of) == obj["bytes"], obj["path"]
        assert hashlib.sha256(bytes_of).hexdigest() == obj["sha256"].removeprefix("0x"), obj["path"]
        table = parquet.read_table(root / obj["path"])
        assert table.num_rows == obj["rows"], obj["path"]
        found.extend(table.to_pylist())
    return found


def main(root: pathlib.Path) -> None:
    newest = max((root / "manifest").glob("*.json"))
    manifest = json.loads(newest.read_text())
    # Of two rows of one batch, the one in the later object counts.
    commitments = {raw(row["batch_id"]): row for row in rows(root, manifest["commitments"])}
    by_stream: dict = {}
    for row in commitments.values():
        by_stream.setdefault((raw(row["tenant_id"]), raw(row["store_id"])), []).append(row)
    report = {
        "manifest": manifest["number"],
        "keys": len(rows(root, [manifest["keys"]])),
        "commitments": len(commitments),
        "events": 0,
        "receipts": 0,
        "roots_equal": 0,
        "roots_differ": 0,
        "roots_incomplete": 0,
        "row_groups": 0,
    }
    for stream in manifest["streams"]:
        events = rows(root, stream["files"])
        for file in stream["files"]:
            report["row_groups"] += parquet.ParquetFile(root / file["path"]).num_row_groups
        report["events"] += len(events)
        report["receipts"] += sum(row["receipt_hash"] is not None for row in events)
        numbers = [row["sequence_number"] for row in events]
        assert numbers == sorted(set(numbers)), "each number once, in order"
        assert numbers[:1] == [stream["first"]][: len(numbers)] and numbers[-1:] == [stream["last"]][: len(numbers)]
        leaves = {}
        for row in events:
            key = (raw(row["tenant_id"]), raw(row["store_id"]))
            leaves[row["sequence_number"]] = sha256(
                "VES_LEAF_V1",
                *key,
                struct.pack(">Q", row["sequence_number"]),
                row["event_signing_hash"],
                row["agent_signature"],
            )
        if not events:
            continue
        for row in by_stream.get(key, []):
            numbers = range(row["sequence_start"], row["sequence_end"] + 1)
            if not all(number in leaves for number in numbers):
                report["roots_incomplete"] += 1
            elif merkle_root([leaves[number] for number in numbers]) == row["merkle_root"]:
                report["roots_equal"] += 1
            else:
                report["roots_differ"] += 1
    print(json.dumps(report))


main(pathlib.Path(sys.argv[1]))
