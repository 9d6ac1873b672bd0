//! One commitment, under the advisory lock of its stream.

use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use uuid::Uuid;
use ves::merkle::{self, leaf_hash};
use ves::{Hash32, SignatureBytes, StreamKey, stream};

use super::Refusal;

pub(super) async fn commit(pool: &PgPool, body: &[u8]) -> Result<Value, Refusal> {
    let bad = |message: &str| Refusal::Status(400, message.to_owned());
    let request: Value = serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?;
    let id = |name: &str| request[name].as_str().and_then(|text| text.parse::<Uuid>().ok());
    let (Some(tenant), Some(store)) = (id("tenant_id"), id("store_id")) else {
        return Err(bad("no stream"));
    };
    let (Some(start), Some(end)) = (
        request["sequence_start"].as_u64(),
        request["sequence_end"].as_u64(),
    ) else {
        return Err(bad("no range"));
    };
    let key = StreamKey::new(tenant.into(), store.into());
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(stream::advisory_lock_key(&key))
        .execute(&mut *tx)
        .await?;
    let last = sqlx::query(
        "SELECT sequence_end, new_state_root FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 \
         ORDER BY sequence_end DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(store)
    .fetch_optional(&mut *tx)
    .await?;
    let hash = |bytes: Vec<u8>| {
        bytes
            .try_into()
            .map(Hash32)
            .map_err(|_| bad("a hash is not 32 bytes"))
    };
    let previous = match &last {
        Some(row) if row.get::<i64, _>(0).unsigned_abs() + 1 == start => hash(row.get(1))?,
        Some(_) => return Err(bad("a commitment must start after the last one")),
        None => Hash32::ZERO,
    };
    let rows = sqlx::query(
        "SELECT sequence_number, event_signing_hash, agent_signature FROM ves_events \
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4 ORDER BY sequence_number",
    )
    .bind(tenant)
    .bind(store)
    .bind(i64::try_from(start).unwrap_or(i64::MAX))
    .bind(i64::try_from(end).unwrap_or(i64::MAX))
    .fetch_all(&mut *tx)
    .await?;
    let mut leaves = Vec::new();
    for (number, row) in (start..=end).zip(&rows) {
        if row.get::<i64, _>(0).unsigned_abs() != number {
            break;
        }
        let signature: [u8; 64] = row
            .get::<Vec<u8>, _>(2)
            .try_into()
            .map_err(|_| bad("a signature is not 64 bytes"))?;
        leaves.push(leaf_hash(
            &key,
            number,
            &hash(row.get(1))?,
            &SignatureBytes(signature),
        ));
    }
    let count = leaves.len() as u64;
    if start > end || count != end - start + 1 {
        return Err(bad("the range has a hole"));
    }
    let root = merkle::root(&leaves).ok_or_else(|| bad("no leaf"))?;
    let leaf_count = u32::try_from(count).map_err(|_| bad("too many leaves"))?;
    let state = stream::state_root(&key, &previous, &root, start, end, leaf_count);
    let batch: Uuid = sqlx::query(
        "INSERT INTO ves_commitments (batch_id, tenant_id, store_id, ves_version, tree_depth, leaf_count, \
         padded_leaf_count, merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end, committed_at) \
         VALUES (gen_random_uuid(), $1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, now()) RETURNING batch_id",
    )
    .bind(tenant)
    .bind(store)
    .bind(i32::try_from(merkle::tree_depth(count)).unwrap_or(0))
    .bind(i32::try_from(count).unwrap_or(0))
    .bind(i32::try_from(merkle::padded_leaf_count(count)).unwrap_or(0))
    .bind(root.0.to_vec())
    .bind(previous.0.to_vec())
    .bind(state.0.to_vec())
    .bind(i64::try_from(start).unwrap_or(0))
    .bind(i64::try_from(end).unwrap_or(0))
    .fetch_one(&mut *tx)
    .await?
    .get(0);
    tx.commit().await?;
    Ok(json!({"batch_id": batch, "sequence_start": start, "sequence_end": end}))
}
