//! What `sequencer-recovery watch` costs the sequencer beside it: see `scripts/watch-cost`.
//!
//! `watch_cost --watch PROGRAM [--db URL] [--seconds N] [--rounds N] [--rate N]` lets events in by the sequencer's statements,
//! in turn without and with a watch beside: first as fast as one connection can, then `--rate` events a second. What counts is
//! the median of the ratios of neighbouring runs. Each request carries ten events, and a thousand are a batch.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use benches::{order, stream};
use ed25519_dalek::{Signer as _, SigningKey};
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::runtime::Runtime;
use uuid::Uuid;
use ves::merkle::{self, leaf_hash};
use ves::receipt::receipt_hash;
use ves::{
    Event, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, Timestamp, payload, stream as streams,
};

/// Events of one request.
const REQUEST: u64 = 10;
/// Events of one commitment.
const BATCH: usize = 1000;
/// A statement of the sequencer's, as the benchmarks have them.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../sql/", $name, ".sql"))
    };
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    watch: String,
    db: Option<String>,
    run: Duration,
    rounds: usize,
    rate: f64,
}

impl Options {
    fn from_args() -> Result<Self> {
        let mut options = Self {
            watch: "target/release/sequencer-recovery".into(),
            db: None,
            run: Duration::from_secs(20),
            rounds: 7,
            rate: 1000.0,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} wants a value"))?;
            match arg.as_str() {
                "--watch" => options.watch = value,
                "--db" => options.db = Some(value),
                "--seconds" => options.run = Duration::from_secs(value.parse()?),
                "--rounds" => options.rounds = value.parse()?,
                "--rate" => options.rate = value.parse()?,
                _ => return Err(format!("{arg} is no option").into()),
            }
        }
        Ok(options)
    }
}

fn id(kind: u128, number: u64) -> Uuid {
    Uuid::from_u128(kind << 120 | u128::from(number))
}

/// One connection that does what the sequencer does.
struct Ingest {
    runtime: Runtime,
    connection: PgConnection,
    key: SigningKey,
    agent: Uuid,
    next: u64,
    leaves: Vec<Hash32>,
    state: Hash32,
}

impl Ingest {
    fn connect(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut connection = runtime.block_on(PgConnection::connect(url))?;
        let key = SigningKey::from_bytes(&[3; 32]);
        let (tenant, store) = (stream().tenant_id.0, stream().store_id.0);
        let agent = Uuid::from_u128(9);
        runtime.block_on(async {
            let now = Timestamp(0).to_string();
            sqlx::query(sql!("drill/register_key"))
                .bind(tenant)
                .bind(agent)
                .bind(1_i32)
                .bind(key.verifying_key().to_bytes().to_vec())
                .bind("active")
                .bind(&now)
                .execute(&mut connection)
                .await?;
            sqlx::query(sql!("drill/ensure_counter"))
                .bind(tenant)
                .bind(store)
                .bind(&now)
                .execute(&mut connection)
                .await
        })?;
        Ok(Self {
            runtime,
            connection,
            key,
            agent,
            next: 1,
            leaves: Vec::new(),
            state: Hash32::ZERO,
        })
    }

    fn event(&self, number: u64) -> Event {
        let json = order(number as usize);
        let mut event = Event {
            event_id: EventId(id(1, number)),
            stream: stream(),
            ves_version: 1,
            source_agent_id: self.agent.into(),
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: format!("ORD-{:08}", number / 4),
            event_type: "order.confirmed".into(),
            created_at: "2026-03-01T12:34:56.789Z".into(),
            payload_plain_hash: payload::plain_hash(&json).unwrap_or(Hash32::ZERO),
            payload: Payload::Plain(json),
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes::ZERO,
            agent_signature_scheme: SignatureScheme(1),
            agent_signature_bundle: None,
            command_id: Some(id(2, number).into()),
            base_version: None,
        };
        event.agent_signature = SignatureBytes(self.key.sign(&event.signing_hash().0).to_bytes());
        event
    }

    /// One request.
    fn request(&mut self) -> Result<()> {
        let events: Vec<Event> = (self.next..self.next + REQUEST)
            .map(|number| self.event(number))
            .collect();
        let at = "2026-03-01T12:34:57Z";
        let numbers = self.next..;
        let work = write(&mut self.connection, &events, numbers, at);
        self.runtime.block_on(work)?;
        for (event, number) in events.iter().zip(self.next..) {
            let hash = event.signing_hash();
            self.leaves
                .push(leaf_hash(&stream(), number, &hash, &event.agent_signature));
        }
        self.next += REQUEST;
        if self.leaves.len() >= BATCH {
            self.commit(at)?;
        }
        Ok(())
    }

    fn commit(&mut self, at: &str) -> Result<()> {
        let leaves = std::mem::take(&mut self.leaves);
        let count = leaves.len() as u64;
        let (start, end) = (self.next - count, self.next - 1);
        let root = merkle::root(&leaves).ok_or("no leaves")?;
        let state = streams::state_root(&stream(), &self.state, &root, start, end, count as u32);
        let insert = sqlx::query(sql!("drill/insert_commitment"))
            .bind(id(3, end))
            .bind(stream().tenant_id.0)
            .bind(stream().store_id.0)
            .bind(i32::try_from(merkle::tree_depth(count))?)
            .bind(i32::try_from(count)?)
            .bind(i32::try_from(merkle::padded_leaf_count(count))?)
            .bind(root.0.to_vec())
            .bind(self.state.0.to_vec())
            .bind(state.0.to_vec())
            .bind(i64::try_from(start)?)
            .bind(i64::try_from(end)?)
            .bind(at);
        self.runtime.block_on(insert.execute(&mut self.connection))?;
        self.state = state;
        Ok(())
    }
}

/// What the sequencer writes for a request, in its order.
async fn write(
    connection: &mut PgConnection,
    events: &[Event],
    numbers: impl Iterator<Item = u64>,
    at: &str,
) -> Result<()> {
    let (tenant, store) = (stream().tenant_id.0, stream().store_id.0);
    let mut tx = connection.begin().await?;
    for event in events {
        sqlx::query(sql!("benches/insert_dedupe"))
            .bind(tenant)
            .bind(store)
            .bind(event.command_id.map(|id| id.0))
            .bind(at)
            .execute(&mut *tx)
            .await?;
    }
    let locked = sqlx::query(sql!("benches/lock_counter"))
        .bind(tenant)
        .bind(store)
        .fetch_one(&mut *tx)
        .await?;
    let mut last: i64 = locked.try_get(0)?;
    for (event, number) in events.iter().zip(numbers) {
        last = i64::try_from(number)?;
        row(&mut tx, event, last, at).await?;
    }
    sqlx::query(sql!("benches/set_counter"))
        .bind(tenant)
        .bind(store)
        .bind(last)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// An event, its receipt, and its entity's version.
async fn row(connection: &mut PgConnection, event: &Event, number: i64, at: &str) -> Result<()> {
    let (tenant, store) = (stream().tenant_id.0, stream().store_id.0);
    let hash = event.signing_hash();
    sqlx::query(sql!("benches/insert_event"))
        .bind(event.event_id.0)
        .bind(event.command_id.map(|id| id.0))
        .bind(1_i32)
        .bind(tenant)
        .bind(store)
        .bind(event.source_agent_id.0)
        .bind(1_i32)
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .bind(&event.event_type)
        .bind(&event.created_at)
        .bind(&event.created_at)
        .bind(at)
        .bind(0_i32)
        .bind(event.payload.json())
        .bind(None::<String>)
        .bind(event.payload_plain_hash.0.as_slice())
        .bind(event.payload_cipher_hash.0.as_slice())
        .bind(hash.0.as_slice())
        .bind(event.agent_signature.0.as_slice())
        .bind(number)
        .bind(None::<i64>)
        .bind(1_i16)
        .bind(None::<Vec<u8>>)
        .execute(&mut *connection)
        .await?;
    sqlx::query(sql!("benches/insert_receipt"))
        .bind(event.event_id.0)
        .bind(Uuid::from_u128(7))
        .bind(number)
        .bind(at)
        .bind(
            receipt_hash(&event.stream, &event.event_id, number as u64, &hash)
                .0
                .to_vec(),
        )
        .bind(None::<Vec<u8>>)
        .bind(1_i32)
        .bind(1_i16)
        .bind(None::<Vec<u8>>)
        .execute(&mut *connection)
        .await?;
    sqlx::query(sql!("benches/raise_version"))
        .bind(tenant)
        .bind(store)
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Events a second.
    rate: f64,
    /// The time of a request that half of them, and all but a hundredth, stayed below, in milliseconds.
    half: f64,
    most: f64,
    /// Blocks that the server looked at.
    blocks: f64,
}

/// Lets events in for so long, no faster than `rate`.
fn ingest(of: &mut Ingest, db: &str, long: Duration, rate: f64) -> Result<Run> {
    let before = blocks(db)?;
    let between = Duration::from_secs_f64(REQUEST as f64 / rate);
    let begun = Instant::now();
    let (mut times, mut due) = (Vec::new(), begun);
    while begun.elapsed() < long {
        sleep(due.saturating_duration_since(Instant::now()));
        due += between;
        let asked = Instant::now();
        of.request()?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = times.len() as f64 * REQUEST as f64 / seconds;
    // The server adds up its counters every second at most.
    sleep(Duration::from_millis(1500));
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Run {
        rate,
        half: at(0.5),
        most: at(0.99),
        blocks: blocks(db)? - before,
    })
}

fn blocks(db: &str) -> Result<f64> {
    Ok(test_support::query(db, sql!("benches/blocks")).trim().parse()?)
}

/// A watch beside it, and who looks how long its transactions are.
struct Beside {
    child: Child,
    stop: Arc<AtomicBool>,
    longest: JoinHandle<f64>,
}

/// Looks ten times a second, by one connection, how long a transaction of the watch is open.
fn longest_transaction(db: &str, stop: &AtomicBool) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut connection = runtime.block_on(PgConnection::connect(db))?;
    let mut longest = 0.0_f64;
    while !stop.load(Ordering::Relaxed) {
        let row = sqlx::query(sql!("benches/longest_watch")).fetch_one(&mut connection);
        let seconds: f64 = runtime.block_on(row)?.try_get(0)?;
        longest = longest.max(seconds);
        sleep(Duration::from_millis(100));
    }
    Ok(longest)
}

impl Beside {
    fn start(options: &Options, db: &str, folder: &std::path::Path) -> Result<Self> {
        let child = Command::new(&options.watch)
            .args(["watch", "--db", db, "--format", "json", "--state"])
            .arg(folder.join("watch.db"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, db) = (Arc::clone(&stop), db.to_owned());
        let longest = spawn(move || longest_transaction(&db, &stopped).unwrap_or(f64::NAN));
        // Learns the log.
        sleep(Duration::from_secs(2));
        Ok(Self { child, stop, longest })
    }

    /// Ends it; gives its report and the longest transaction that was seen, in seconds.
    fn end(self) -> Result<(serde_json::Value, f64)> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let ended = self.child.wait_with_output()?;
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.longest.join().map_err(|_| "no figures")?;
        Ok((serde_json::from_slice(&ended.stdout)?, longest))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(options: &Options, of: &mut Ingest, db: &str, rate: f64, name: &str) -> Result<()> {
    let (mut alone, mut beside, mut longest) = (Vec::new(), Vec::new(), 0.0_f64);
    let (mut looks, mut judged, mut rows) = (0.0, 0.0, 0.0);
    for round in 0..=options.rounds {
        let a = ingest(of, db, options.run, rate)?;
        let folder = tempfile::tempdir()?;
        let watch = Beside::start(options, db, folder.path())?;
        let b = ingest(of, db, options.run, rate)?;
        let (report, seen) = watch.end()?;
        if report["problems"] != serde_json::json!([]) {
            return Err(format!("the watch found problems in a sound log: {}", report["problems"]).into());
        }
        // The first round fills the caches.
        if round == 0 {
            continue;
        }
        eprintln!("{name} {round}: alone {a:.1?}, beside {b:.1?}");
        let of = |field: &str| report[field].as_f64().unwrap_or(0.0);
        (looks, judged, rows) = (looks + of("looks"), judged + of("new_events"), rows + of("rows"));
        longest = longest.max(seen);
        alone.push(a);
        beside.push(b);
    }
    let all = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
    let ratios = |of: fn(&Run) -> f64| -> Vec<f64> {
        let mut ratios: Vec<f64> = alone.iter().zip(&beside).map(|(a, b)| of(b) / of(a)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let rate = ratios(|run| run.rate);
    let quarter = |at: usize| rate[(rate.len() - 1) * at / 4];
    let more: f64 = alone.iter().zip(&beside).map(|(a, b)| b.blocks - a.blocks).sum();
    println!(
        "| {name} | {:.0} and {:.0} | **{:.3}** | {:.3}–{:.3} ({} runs) | {:.1} and {:.1}; {:.1} and {:.1} | {:.0} | {:.2} | {:.0} | {longest:.2} s |",
        all(&alone, |run| run.rate),
        all(&beside, |run| run.rate),
        median(rate.clone()),
        quarter(1),
        quarter(3),
        rate.len(),
        all(&alone, |run| run.half),
        all(&beside, |run| run.half),
        all(&alone, |run| run.most),
        all(&beside, |run| run.most),
        judged / looks,
        rows / judged,
        more / looks,
    );
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::from_args()?;
    let server = match (&options.db, test_support::postgres_available()) {
        (Some(_), _) => None,
        (None, true) => Some(test_support::ScratchPostgres::start_durable()),
        (None, false) => return Err("PostgreSQL's server binaries are not installed".into()),
    };
    let db = match (&options.db, &server) {
        (Some(db), _) => db.clone(),
        (None, Some(server)) => server.create_database("log"),
        (None, None) => return Err("no server".into()),
    };
    test_support::load_schema(&db);
    let mut of = Ingest::connect(&db)?;
    println!(
        "| ingest | events a second, alone and with the watch | median ratio | quartiles | request, ms: half and all but 1 % | new events a look | rows read an event | blocks a look | longest transaction |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    measure(
        &options,
        &mut of,
        &db,
        f64::INFINITY,
        "as fast as one connection can",
    )?;
    let paced = format!("{:.0} events a second", options.rate);
    measure(&options, &mut of, &db, options.rate, &paced)?;
    Ok(())
}
