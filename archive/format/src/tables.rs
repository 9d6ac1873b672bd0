//! The small tables: commitments, agents' keys and anchors, each object read as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use anchor_verify::AnchorsFile;
use arrow::array::RecordBatch;
use arrow::datatypes::{Int16Type, Int64Type, Schema, SchemaRef, UInt32Type};
use bytes::Bytes;
use event_log::Commitment;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use ves::{AgentId, BatchId, SigningKey, StoreId, StreamKey, TenantId};

use crate::columns::{Built, Taken, bytes, fixed, number, signed, text, time, uuid};
use crate::error::ArchiveError;
use crate::manifest::{ObjectRef, sha256};
use crate::pieces::guarded;
use crate::store::Store;

/// The largest such object that is read.
const MAX_TABLE: u64 = 4 << 30;

/// The columns of `commitments`: those of `ves_commitments`.
pub static COMMITMENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        uuid("batch_id", false),
        uuid("tenant_id", false),
        uuid("store_id", false),
        number::<UInt32Type>("ves_version", false),
        number::<UInt32Type>("tree_depth", false),
        number::<UInt32Type>("leaf_count", false),
        number::<UInt32Type>("padded_leaf_count", false),
        fixed("merkle_root", 32, false),
        fixed("prev_state_root", 32, false),
        fixed("new_state_root", 32, false),
        number::<Int64Type>("sequence_start", false),
        number::<Int64Type>("sequence_end", false),
        time("committed_at", false),
        number::<UInt32Type>("chain_id", true),
        fixed("chain_tx_hash", 32, true),
        number::<Int64Type>("chain_block_number", true),
        time("anchored_at", true),
    ]))
});

/// The columns of `keys`: those of `agent_signing_keys`.
pub static KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        uuid("tenant_id", false),
        uuid("agent_id", false),
        number::<UInt32Type>("key_id", false),
        fixed("public_key", 32, false),
        text("status", false),
        time("valid_from", true),
        time("valid_to", true),
        time("revoked_at", true),
        number::<Int16Type>("key_algorithm", false),
        bytes("public_key_bundle", true),
    ]))
});

/// The columns of `anchors`: a row for each anchor of an anchors file.
pub static ANCHORS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        uuid("batch_id", false),
        fixed("tenant_store_key", 32, false),
        fixed("events_root", 32, false),
        number::<Int64Type>("sequence_start", false),
        number::<Int64Type>("sequence_end", false),
        fixed("transaction_hash", 32, false),
        number::<Int64Type>("block_number", false),
        number::<Int64Type>("log_index", false),
    ]))
});

/// Makes rows of commitments.
pub(crate) fn commitment_rows(commitments: &[Commitment]) -> Result<RecordBatch, ArchiveError> {
    let all = || commitments.iter();
    let numbers = |what, of: fn(&Commitment) -> u64| {
        let numbers: Result<Vec<i64>, _> = all().map(|c| signed(what, of(c))).collect();
        numbers
    };
    let blocks: Result<Vec<Option<i64>>, _> = all()
        .map(|c| {
            c.chain_block_number
                .map(|number| signed("block", number))
                .transpose()
        })
        .collect();
    let mut built = Built::default();
    built.fixed(all().map(|c| Some(c.batch_id.as_bytes())));
    built.fixed(all().map(|c| Some(c.stream.tenant_id.as_bytes())));
    built.fixed(all().map(|c| Some(c.stream.store_id.as_bytes())));
    built.number::<UInt32Type>(all().map(|c| Some(c.ves_version)));
    built.number::<UInt32Type>(all().map(|c| Some(c.tree_depth)));
    built.number::<UInt32Type>(all().map(|c| Some(c.leaf_count)));
    built.number::<UInt32Type>(all().map(|c| Some(c.padded_leaf_count)));
    built.fixed(all().map(|c| Some(&c.merkle_root.0)));
    built.fixed(all().map(|c| Some(&c.prev_state_root.0)));
    built.fixed(all().map(|c| Some(&c.new_state_root.0)));
    built.number::<Int64Type>(
        numbers("sequence_start", |c| c.sequence_start)?
            .into_iter()
            .map(Some),
    );
    built.number::<Int64Type>(numbers("sequence_end", |c| c.sequence_end)?.into_iter().map(Some));
    built.time(all().map(|c| Some(c.committed_at)));
    built.number::<UInt32Type>(all().map(|c| c.chain_id));
    built.fixed(all().map(|c| c.chain_tx_hash.as_ref().map(|hash| &hash.0)));
    built.number::<Int64Type>(blocks?.into_iter());
    built.time(all().map(|c| c.anchored_at));
    rows_of(&COMMITMENTS, built)
}

/// Makes rows of keys.
pub(crate) fn key_rows(keys: &[SigningKey]) -> Result<RecordBatch, ArchiveError> {
    let all = || keys.iter();
    let mut built = Built::default();
    built.fixed(all().map(|key| Some(key.tenant_id.as_bytes())));
    built.fixed(all().map(|key| Some(key.agent_id.as_bytes())));
    built.number::<UInt32Type>(all().map(|key| Some(key.key_id)));
    built.fixed(all().map(|key| Some(&key.public_key.0)));
    built.text(all().map(|key| Some(key.status.as_str())));
    built.time(all().map(|key| key.valid_from));
    built.time(all().map(|key| key.valid_to));
    built.time(all().map(|key| key.revoked_at));
    built.number::<Int16Type>(all().map(|key| Some(key.key_algorithm)));
    built.bytes(all().map(|key| key.public_key_bundle.as_deref()));
    rows_of(&KEYS, built)
}

/// Makes rows of anchors.
pub(crate) fn anchor_rows(anchors: &AnchorsFile) -> Result<RecordBatch, ArchiveError> {
    let all = || anchors.anchors.iter();
    let numbers = |what, of: fn(&anchor_verify::Anchor) -> u64| {
        let numbers: Result<Vec<i64>, _> = all().map(|anchor| signed(what, of(anchor))).collect();
        numbers
    };
    let mut built = Built::default();
    built.fixed(all().map(|anchor| Some(anchor.batch_id.as_bytes())));
    built.fixed(all().map(|anchor| Some(&anchor.tenant_store_key.0)));
    built.fixed(all().map(|anchor| Some(&anchor.events_root.0)));
    built.number::<Int64Type>(
        numbers("sequence_start", |a| a.sequence_start)?
            .into_iter()
            .map(Some),
    );
    built.number::<Int64Type>(numbers("sequence_end", |a| a.sequence_end)?.into_iter().map(Some));
    built.fixed(all().map(|anchor| Some(&anchor.transaction_hash.0)));
    built.number::<Int64Type>(numbers("block", |a| a.block_number)?.into_iter().map(Some));
    built.number::<Int64Type>(numbers("log", |a| a.log_index)?.into_iter().map(Some));
    rows_of(&ANCHORS, built)
}

fn rows_of(schema: &SchemaRef, built: Built) -> Result<RecordBatch, ArchiveError> {
    RecordBatch::try_new(Arc::clone(schema), built.into_arrays())
        .map_err(ArchiveError::columns("making columns of a table"))
}

/// Writes rows as an object, named by its folder and content.
pub(crate) fn write(store: &Store, folder: &str, rows: &RecordBatch) -> Result<ObjectRef, ArchiveError> {
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder()
        .set_created_by(concat!("event-archive ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level of zstd")))
        .build();
    let failed = || ArchiveError::columns("writing a table");
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).map_err(failed())?;
    writer.write(rows).map_err(failed())?;
    writer.close().map_err(failed())?;
    let sha256 = sha256(&bytes);
    let object = ObjectRef {
        path: format!("{folder}/{}.parquet", hex::encode(&sha256.0[..16])),
        rows: rows.num_rows() as u64,
        bytes: bytes.len() as u64,
        sha256,
    };
    store.put(&object.path, bytes.into())?;
    Ok(object)
}

/// The bytes of an object, checked.
pub(crate) fn fetch(store: &Store, object: &ObjectRef) -> Result<Bytes, ArchiveError> {
    let bytes = store.get(&object.path, MAX_TABLE.min(object.bytes))?;
    let bytes = bytes.ok_or_else(|| ArchiveError::damaged(&object.path, "it is not there"))?;
    let found = sha256(&bytes);
    match found == object.sha256 {
        true => Ok(bytes),
        false => {
            let what = format!("it hashes to {found}, not to {}", object.sha256);
            Err(ArchiveError::damaged(&object.path, what))
        }
    }
}

fn read(store: &Store, schema: &SchemaRef, object: &ObjectRef) -> Result<Vec<RecordBatch>, ArchiveError> {
    let bytes = fetch(store, object)?;
    let read = || {
        let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?
            .build()?
            .map(|rows| rows.map_err(ParquetError::from))
            .collect::<Result<Vec<_>, _>>()
    };
    let batches = guarded(read).map_err(|what| ArchiveError::damaged(&object.path, what))?;
    let rows: u64 = batches.iter().map(|rows| rows.num_rows() as u64).sum();
    match rows == object.rows {
        true => Ok(batches),
        false => {
            let what = format!("it has {rows} rows, not {}", object.rows);
            Err(ArchiveError::damaged(&object.path, what))
        }
    }
}

/// The commitments of these objects: of two of one batch the later one.
pub(crate) fn read_commitments(
    store: &Store,
    objects: &[ObjectRef],
) -> Result<BTreeMap<BatchId, Commitment>, ArchiveError> {
    let mut commitments = BTreeMap::new();
    for object in objects {
        for rows in read(store, &COMMITMENTS, object)? {
            let rows = to_commitments(&rows, &object.path)?;
            commitments.extend(rows.into_iter().map(|c| (c.batch_id, c)));
        }
    }
    Ok(commitments)
}

fn to_commitments(rows: &RecordBatch, file: &str) -> Result<Vec<Commitment>, ArchiveError> {
    let taken = Taken::new(rows, file);
    let batch = taken.fixed::<16>("batch_id")?;
    let tenant = taken.fixed::<16>("tenant_id")?;
    let store = taken.fixed::<16>("store_id")?;
    let version = taken.u32("ves_version")?;
    let depth = taken.u32("tree_depth")?;
    let leaves = taken.u32("leaf_count")?;
    let padded = taken.u32("padded_leaf_count")?;
    let root = taken.fixed::<32>("merkle_root")?;
    let before = taken.fixed::<32>("prev_state_root")?;
    let after = taken.fixed::<32>("new_state_root")?;
    let start = taken.i64("sequence_start")?;
    let end = taken.i64("sequence_end")?;
    let committed_at = taken.time("committed_at")?;
    let chain = taken.u32("chain_id")?;
    let transaction = taken.fixed::<32>("chain_tx_hash")?;
    let block = taken.i64("chain_block_number")?;
    let anchored_at = taken.time("anchored_at")?;
    let unsigned = |number: i64| {
        u64::try_from(number).map_err(|_| ArchiveError::damaged(file, format!("a commitment names {number}")))
    };
    let commitment = |row: usize| -> Result<Commitment, ArchiveError> {
        Ok(Commitment {
            batch_id: BatchId(batch.uuid(row)),
            stream: StreamKey::new(TenantId(tenant.uuid(row)), StoreId(store.uuid(row))),
            ves_version: version.at(row),
            tree_depth: depth.at(row),
            leaf_count: leaves.at(row),
            padded_leaf_count: padded.at(row),
            merkle_root: root.hash(row),
            prev_state_root: before.hash(row),
            new_state_root: after.hash(row),
            sequence_start: unsigned(start.at(row))?,
            sequence_end: unsigned(end.at(row))?,
            committed_at: committed_at.at(row),
            chain_id: chain.optional(row),
            chain_tx_hash: transaction.optional(row).map(ves::Hash32),
            chain_block_number: block.optional(row).map(unsigned).transpose()?,
            anchored_at: anchored_at.optional(row),
        })
    };
    (0..rows.num_rows()).map(commitment).collect()
}

/// The keys of an object.
pub(crate) fn read_keys(store: &Store, object: &ObjectRef) -> Result<Vec<SigningKey>, ArchiveError> {
    let mut keys = Vec::new();
    for rows in read(store, &KEYS, object)? {
        let taken = Taken::new(&rows, &object.path);
        let tenant = taken.fixed::<16>("tenant_id")?;
        let agent = taken.fixed::<16>("agent_id")?;
        let key_id = taken.u32("key_id")?;
        let public_key = taken.fixed::<32>("public_key")?;
        let status = taken.text("status")?;
        let valid_from = taken.time("valid_from")?;
        let valid_to = taken.time("valid_to")?;
        let revoked_at = taken.time("revoked_at")?;
        let algorithm = taken.i16("key_algorithm")?;
        let bundle = taken.bytes("public_key_bundle")?;
        keys.extend((0..rows.num_rows()).map(|row| SigningKey {
            tenant_id: TenantId(tenant.uuid(row)),
            agent_id: AgentId(agent.uuid(row)),
            key_id: key_id.at(row),
            public_key: public_key.hash(row),
            status: status.at(row),
            valid_from: valid_from.optional(row),
            valid_to: valid_to.optional(row),
            revoked_at: revoked_at.optional(row),
            key_algorithm: algorithm.at(row),
            public_key_bundle: bundle.optional(row),
        }));
    }
    Ok(keys)
}
