//! The gap audit of a whole log in PostgreSQL beside the query of the recovery guides, which sets each row beside the
//! one before by LAG. 100 streams of one table, with holes in none, in every tenth, in all of them. A million positions,
//! `-- --large` ten million, which take a minute or two to make and 5 GiB of disk.
//!
//! Needs PostgreSQL's server binaries; it starts a cluster of its own.

use benches::{Clock, Options, Table};
use cli_common::DbTarget;
use event_log::{Log, StreamFilter};
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

/// Stream, first and last missing.
type Gap = (Uuid, Uuid, u64, u64);

async fn by_lag(url: &str) -> Result<Vec<Gap>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query(include_str!("../../sql/benches/gaps_by_lag.sql"))
        .fetch_all(&mut connection)
        .await?;
    let gap = |row: &sqlx::postgres::PgRow| -> Result<Gap, sqlx::Error> {
        let number = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        Ok((row.try_get(0)?, row.try_get(1)?, number(2)?, number(3)?))
    };
    rows.iter().map(gap).collect()
}

async fn by_count(log: &Log) -> Vec<Gap> {
    let mut view = log.view().await.expect("a view");
    let found = view.presence(&StreamFilter::default()).await.expect("an audit");
    let mut gaps = Vec::new();
    for found in found.all().expect("readable rows") {
        let mut next = 1;
        for range in &found.ranges {
            if *range.start() > next {
                let stream = found.stream;
                gaps.push((stream.tenant_id.0, stream.store_id.0, next, range.start() - 1));
            }
            next = range.end() + 1;
        }
    }
    gaps
}

fn main() {
    let options = Options::from_args();
    if !test_support::postgres_available() {
        eprintln!("PostgreSQL's server binaries are not installed: nothing is measured");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let count = if options.large { 10_000_000 } else { 1_000_000 };
    let server = test_support::ScratchPostgres::start();
    let url = server.create_database("log");
    test_support::load_schema(&url);
    let script = |name: &str, variable: String| {
        let path = test_support::workspace_root().join("sql/benches").join(name);
        test_support::run_script(&url, &path, &[&variable])
    };
    eprintln!("making {count} positions");
    let _ = script("fill_streams.sql", format!("count={count}"));
    let target = DbTarget::parse(url.as_ref()).expect("a URL");
    let log = runtime.block_on(Log::open(&target)).expect("a log");
    let mut table = Table::new(&options, Clock::Wall, "LAG", "position");
    for (holes, every, at_least) in [
        ("no stream", None, Some(3.0)),
        ("every tenth stream", Some(10), Some(3.0)),
        ("every stream", Some(1), None),
    ] {
        if let Some(every) = every {
            let _ = script("dig_holes.sql", format!("every={every}"));
        }
        table.compare(
            &format!("gaps of {count} positions, holes in {holes}"),
            count,
            at_least,
            || runtime.block_on(by_lag(&url)).expect("an audit"),
            || runtime.block_on(by_count(&log)),
        );
    }
}
