//! The functions against those of `ves`, over generated worlds, and against what they must refuse.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use fixtures::{LoggedEvent, World, WorldSpec};
use ves::{Hash32, StreamKey, merkle, payload};

use crate::session;

/// A session with the events of a world as table `e`, cut in pieces of a few rows on several partitions, out of order; and
/// their keys as table `k`.
fn context(world: &World) -> SessionContext {
    let context = session::for_tests();
    let mut events: Vec<&LoggedEvent> = world.log().events().collect();
    // Not the order of any stream.
    events.sort_by_key(|logged| logged.event.event_id);
    let pieces: Vec<RecordBatch> = events.chunks(7).map(rows).collect();
    let schema = pieces[0].schema();
    let mut partitions = vec![Vec::new(); 5];
    for (at, piece) in pieces.into_iter().enumerate() {
        partitions[at % 5].push(piece);
    }
    context
        .register_table("e", Arc::new(MemTable::try_new(schema, partitions).unwrap()))
        .unwrap();
    let keys: Vec<_> = world.log().keys.iter().map(|key| &key.key).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "tenant_id",
            fixed(keys.iter().map(|key| key.tenant_id.as_bytes().to_vec())),
        ),
        (
            "agent_id",
            fixed(keys.iter().map(|key| key.agent_id.as_bytes().to_vec())),
        ),
        (
            "key_id",
            Arc::new(
                keys.iter()
                    .map(|key| i64::from(key.key_id))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "public_key",
            fixed(keys.iter().map(|key| key.public_key.0.to_vec())),
        ),
    ];
    let keys = RecordBatch::try_from_iter(columns).unwrap();
    context.register_batch("k", keys).unwrap();
    context
}

fn fixed(values: impl Iterator<Item = Vec<u8>>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter(values).unwrap())
}

fn rows(events: &[&LoggedEvent]) -> RecordBatch {
    let ids = |of: fn(&LoggedEvent) -> Vec<u8>| fixed(events.iter().map(|logged| of(logged)));
    let number = |of: fn(&LoggedEvent) -> i64| -> ArrayRef {
        Arc::new(events.iter().map(|logged| of(logged)).collect::<Int64Array>())
    };
    let text = |of: fn(&LoggedEvent) -> Option<&str>| -> ArrayRef {
        Arc::new(events.iter().map(|logged| of(logged)).collect::<StringArray>())
    };
    let plain = |logged: &LoggedEvent| matches!(logged.event.payload, ves::Payload::Plain(_));
    let payloads: StringArray = events
        .iter()
        .map(|logged| plain(logged).then(|| logged.event.payload.json()))
        .collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tenant_id", ids(|l| l.event.stream.tenant_id.as_bytes().to_vec())),
        ("store_id", ids(|l| l.event.stream.store_id.as_bytes().to_vec())),
        ("sequence_number", number(|l| i64::try_from(l.number).unwrap())),
        ("event_id", ids(|l| l.event.event_id.as_bytes().to_vec())),
        ("ves_version", number(|l| l.event.ves_version.into())),
        (
            "source_agent_id",
            ids(|l| l.event.source_agent_id.as_bytes().to_vec()),
        ),
        ("agent_key_id", number(|l| l.event.agent_key_id.into())),
        ("entity_type", text(|l| Some(&l.event.entity_type))),
        ("entity_id", text(|l| Some(&l.event.entity_id))),
        ("event_type", text(|l| Some(&l.event.event_type))),
        ("created_at_str", text(|l| Some(&l.event.created_at))),
        (
            "payload_kind",
            Arc::new(
                events
                    .iter()
                    .map(|l| i32::from(!plain(l)))
                    .collect::<Int32Array>(),
            ),
        ),
        ("payload", Arc::new(payloads)),
        (
            "payload_plain_hash",
            ids(|l| l.event.payload_plain_hash.0.to_vec()),
        ),
        (
            "payload_cipher_hash",
            ids(|l| l.event.payload_cipher_hash.0.to_vec()),
        ),
        ("event_signing_hash", ids(|l| l.signing_hash.0.to_vec())),
        ("agent_signature", ids(|l| l.event.agent_signature.0.to_vec())),
    ];
    let nullable = columns
        .into_iter()
        .map(|(name, column)| (name, column, name == "payload"));
    RecordBatch::try_from_iter_with_nullable(nullable).unwrap()
}

const LEAF: &str = "ves_leaf(tenant_id, store_id, sequence_number, event_signing_hash, agent_signature)";

async fn ask(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    context.sql(sql).await?.collect().await
}

/// The one value that a query gives, as the engine prints it.
async fn one(context: &SessionContext, sql: &str) -> Result<String> {
    let answer = ask(context, sql).await?;
    let rows: Vec<&RecordBatch> = answer.iter().filter(|rows| rows.num_rows() > 0).collect();
    assert_eq!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>(), 1, "{sql}");
    Ok(crate::cell::cells(rows[0], 0).join("|"))
}

async fn refusal(context: &SessionContext, sql: &str) -> String {
    match one(context, sql).await {
        Ok(answer) => panic!("{sql}: {answer}"),
        Err(error) => error.strip_backtrace(),
    }
}

fn leaf(logged: &LoggedEvent) -> Hash32 {
    let event = &logged.event;
    merkle::leaf_hash(
        &event.stream,
        logged.number,
        &logged.signing_hash,
        &event.agent_signature,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaves_and_hashes_of_a_world_are_those_of_the_protocol() {
    let world = World::generate(&WorldSpec::default());
    let context = context(&world);
    let expected: BTreeMap<Vec<u8>, &LoggedEvent> = world
        .log()
        .events()
        .map(|logged| (logged.event.event_id.as_bytes().to_vec(), logged))
        .collect();
    let sql = format!(
        "select event_id, {LEAF}, ves_payload_hash(payload), ves_signing_hash(ves_version, tenant_id, store_id, event_id, \
         source_agent_id, agent_key_id, entity_type, entity_id, event_type, created_at_str, payload_kind, \
         payload_plain_hash, payload_cipher_hash) from e"
    );
    let mut seen = 0;
    for rows in ask(&context, &sql).await.unwrap() {
        let column = |at: usize| rows.column(at).as_fixed_size_binary();
        for row in 0..rows.num_rows() {
            seen += 1;
            let logged = expected[column(0).value(row)];
            assert_eq!(column(1).value(row), leaf(logged).0);
            match &logged.event.payload {
                ves::Payload::Plain(json) => {
                    assert_eq!(column(2).value(row), payload::plain_hash(json).unwrap().0);
                }
                ves::Payload::Encrypted(_) => assert!(column(2).is_null(row)),
            }
            assert_eq!(column(3).value(row), logged.event.signing_hash().0);
        }
    }
    assert_eq!(seen, world.log().event_count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_hold_for_their_key_and_hash_alone() {
    let world = World::generate(&WorldSpec::default());
    let context = context(&world);
    let join = "from e join k on k.tenant_id = e.tenant_id and k.agent_id = e.source_agent_id and k.key_id = e.agent_key_id";
    let verify = "ves_verify(k.public_key, e.event_signing_hash, e.agent_signature)";
    let events = world.log().event_count().to_string();
    let holds = one(&context, &format!("select count(*) {join} where {verify}"))
        .await
        .unwrap();
    assert_eq!(holds, events);
    // Another hash, another signature, a key that is no point.
    let (no_point, zeros) = (
        format!("x'{}'", "7f".repeat(32)),
        format!("x'{}'", "00".repeat(64)),
    );
    for (key, hash, signature) in [
        ("k.public_key", "e.payload_plain_hash", "e.agent_signature"),
        ("k.public_key", "e.event_signing_hash", &zeros),
        (&no_point, "e.event_signing_hash", "e.agent_signature"),
    ] {
        let sql = format!("select count(*) {join} where not ves_verify({key}, {hash}, {signature})");
        assert_eq!(one(&context, &sql).await.unwrap(), events, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_are_those_of_the_commitments_however_the_rows_come() {
    let world = World::generate(&WorldSpec::default());
    let context = context(&world);
    let sql = format!(
        "select ves_merkle_root({LEAF} order by sequence_number) from e where tenant_id = '{{tenant}}' and store_id = \
         '{{store}}' and sequence_number between {{from}} and {{to}}"
    );
    let mut checked = 0;
    for commitment in world.log().commitments().take(12) {
        let sql = sql
            .replace("{tenant}", &commitment.stream.tenant_id.to_string())
            .replace("{store}", &commitment.stream.store_id.to_string())
            .replace("{from}", &commitment.sequence_start.to_string())
            .replace("{to}", &commitment.sequence_end.to_string());
        assert_eq!(
            one(&context, &sql).await.unwrap(),
            hex::encode(commitment.merkle_root.0),
            "{sql}"
        );
        checked += 1;
    }
    assert_eq!(checked, 12);
    // Whole streams by groups: partial states of five partitions become one.
    let sql = format!(
        "select tenant_id, store_id, ves_merkle_root({LEAF} order by sequence_number) from e group by tenant_id, store_id"
    );
    let mut streams = 0;
    for rows in ask(&context, &sql).await.unwrap() {
        for row in 0..rows.num_rows() {
            let id = |at: usize| {
                uuid::Uuid::from_slice(rows.column(at).as_fixed_size_binary().value(row)).unwrap()
            };
            let stream = StreamKey::new(ves::TenantId(id(0)), ves::StoreId(id(1)));
            let leaves: Vec<Hash32> = world.log().streams[&stream].events.values().map(leaf).collect();
            let root = rows.column(2).as_fixed_size_binary().value(row);
            assert_eq!(root, merkle::root(&leaves).unwrap().0);
            streams += 1;
        }
    }
    assert_eq!(streams, world.log().streams.len());
}

#[tokio::test]
async fn a_root_needs_an_order_and_one_stream() {
    let world = World::generate(&WorldSpec::honest(3));
    let context = context(&world);
    let root = |inner: &str| format!("select ves_merkle_root({inner}) from e");
    assert!(refusal(&context, &root(LEAF)).await.contains("needs an order"));
    assert!(
        refusal(&context, &root(&format!("{LEAF} order by sequence_number desc")))
            .await
            .contains("ascending")
    );
    assert!(
        refusal(&context, &root(&format!("{LEAF} order by entity_id")))
            .await
            .contains("sequence_number")
    );
    let mixed = refusal(&context, &root(&format!("{LEAF} order by sequence_number"))).await;
    assert!(mixed.contains("is there twice"), "{mixed}");
    let none = root(&format!("{LEAF} order by sequence_number")) + " where sequence_number > 1000000";
    assert_eq!(one(&context, &none).await.unwrap(), "-");
    // A leaf that is not known makes the root unknown; it is not left out.
    let unknown = "select ves_merkle_root(leaf order by n) from (values (1, cast(null as bytea)), (2, x'00')) as t(n, leaf)";
    let unknown = unknown.replace("x'00'", &format!("x'{}'", "ab".repeat(32)));
    assert_eq!(one(&context, &unknown).await.unwrap(), "-");
    let below = "select ves_merkle_root(leaf order by n) from (values (-1, x'00')) as t(n, leaf)";
    assert_eq!(
        one(
            &context,
            &below.replace("x'00'", &format!("x'{}'", "ab".repeat(32)))
        )
        .await
        .unwrap(),
        "-"
    );
}

#[tokio::test]
async fn gaps_are_leading_and_interior() {
    let context = session::for_tests();
    let missing = async |numbers: &str| {
        one(
            &context,
            &format!("select ves_gaps(n) from (values {numbers}) as t(n)"),
        )
        .await
        .unwrap()
    };
    assert_eq!(missing("(1), (2), (3)").await, "[]");
    assert_eq!(missing("(3)").await, r#"[{"from":1,"to":2}]"#);
    assert_eq!(
        missing("(9), (2), (2), (1), (5), (6)").await,
        r#"[{"from":3,"to":4},{"from":7,"to":8}]"#
    );
    // What is no position is passed over.
    assert_eq!(missing("(0), (-5), (1), (null)").await, "[]");
    assert_eq!(missing("(0), (cast(null as bigint))").await, "-");
    let largest = missing("(9223372036854775807)").await;
    assert_eq!(largest, r#"[{"from":1,"to":9223372036854775806}]"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_come_out_right_of_partial_states() {
    let context = session::for_tests();
    // Every number but the multiples of 97, of 20,000, on eight partitions.
    let batch = |from: i64| {
        let numbers: Int64Array = (0..2500).map(|n| from + n * 8).filter(|n| n % 97 != 0).collect();
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap()
    };
    let partitions: Vec<Vec<RecordBatch>> = (1..=8).map(|from| vec![batch(from)]).collect();
    let schema = partitions[0][0].schema();
    context
        .register_table("t", Arc::new(MemTable::try_new(schema, partitions).unwrap()))
        .unwrap();
    let sql = "select array_length(ves_gaps(n)), max(n) from t";
    assert_eq!(
        one(&context, sql).await.unwrap(),
        format!("{}|20000", 20_000 / 97)
    );
    // The even numbers lack every odd one.
    let even = "select array_length(ves_gaps(n)) > 9000 from t where n % 2 = 0 group by n % 2";
    assert_eq!(one(&context, even).await.unwrap(), "true");
}

#[tokio::test]
async fn null_makes_null_and_what_is_no_argument_is_refused() {
    let context = session::for_tests();
    let h32 = format!("x'{}'", "00".repeat(32));
    let h64 = format!("x'{}'", "00".repeat(64));
    let id = format!("x'{}'", "00".repeat(16));
    for null in [
        format!("ves_leaf({id}, {id}, null, {h32}, {h64})"),
        format!("ves_leaf({id}, {id}, -1, {h32}, {h64})"),
        format!("ves_leaf(null, {id}, 1, {h32}, {h64})"),
        format!("ves_verify(null, {h32}, {h64})"),
        "ves_payload_hash(null)".to_owned(),
        "ves_payload_hash('')".to_owned(),
        "ves_payload_hash('{')".to_owned(),
        "ves_payload_hash('{\"a\":1,\"a\":2}x')".to_owned(),
        "ves_payload_hash(repeat('[', 100000))".to_owned(),
    ] {
        assert_eq!(
            one(&context, &format!("select {null}")).await.unwrap(),
            "-",
            "{null}"
        );
    }
    for (wrong, why) in [
        (format!("ves_leaf({id}, {id}, 1, {h32})"), "takes"),
        (format!("ves_leaf({id}, {id}, 'one', {h32}, {h64})"), "takes"),
        (format!("ves_leaf('no bytes', {id}, 1, {h32}, {h64})"), "takes"),
        (format!("ves_verify({h32}, {h32}, {h32})"), ""),
        (format!("ves_verify({id}, {h32}, {h64})"), ""),
        ("ves_payload_hash(1)".to_owned(), "takes"),
        ("ves_gaps('a')".to_owned(), ""),
    ] {
        let refused = refusal(&context, &format!("select {wrong}")).await;
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    assert_eq!(
        one(&context, &format!("select ves_verify({h32}, {h32}, {h64})"))
            .await
            .unwrap(),
        "false"
    );
    let hostile = "select ves_payload_hash('{\"\u{202e}\":\"\u{0}\u{1b}[2J\"}')";
    assert_eq!(
        one(&context, hostile).await.unwrap().len(),
        1,
        "a control character is no JSON"
    );
}

#[tokio::test]
async fn bytes_are_compared_with_text_of_their_kind() {
    let context = session::for_tests();
    let schema = Arc::new(Schema::new(vec![
        crate::columns::uuid("id", false),
        Field::new("hash", DataType::FixedSizeBinary(32), false),
        Field::new("any", DataType::Binary, false),
    ]));
    let id = uuid::Uuid::from_u128(7);
    let columns: Vec<ArrayRef> = vec![
        fixed([id.as_bytes().to_vec()].into_iter()),
        fixed([vec![0xab; 32]].into_iter()),
        Arc::new(BinaryArray::from(vec![&b"x"[..]])),
    ];
    context
        .register_batch("t", RecordBatch::try_new(schema, columns).unwrap())
        .unwrap();
    let count = async |filter: &str| one(&context, &format!("select count(*) from t where {filter}")).await;
    assert_eq!(count(&format!("id = '{id}'")).await.unwrap(), "1");
    assert_eq!(count(&format!("'{id}' <> id")).await.unwrap(), "0");
    assert_eq!(
        count(&format!("hash = '0x{}'", "AB".repeat(32))).await.unwrap(),
        "1"
    );
    assert_eq!(
        count(&format!("hash = x'{}'", "ab".repeat(32))).await.unwrap(),
        "1"
    );
    for (wrong, why) in [
        ("id = 'no id'", "no UUID"),
        ("hash = 'abab'", "32 bytes"),
        ("id = ''", "no UUID"),
    ] {
        let refused = count(wrong).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    assert_eq!(one(&context, "select id from t").await.unwrap(), id.to_string());
}
