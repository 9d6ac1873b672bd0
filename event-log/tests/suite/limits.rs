//! What is written can be read again: on both sides of the longest row and the longest line.

use crate::common;

use std::ops::ControlFlow;

use cli_common::NoProgress;
use common::{RECOVERED, Server, file, open, target};
use event_log::{ExportReader, Scope, write_export, write_snapshot};

#[tokio::test]
async fn rows_and_lines_are_written_only_if_they_can_be_read() {
    let Some(server) = Server::start() else { return };
    let url = server.load("long", RECOVERED);
    let victim = "(SELECT event_id FROM ves_events WHERE payload_kind = 0 ORDER BY event_id LIMIT 1)";
    let place = test_support::query(
        &url,
        &format!("SELECT store_id, sequence_number FROM ves_events WHERE event_id = {victim}"),
    );
    let (store, number) = place.trim().split_once('|').unwrap();
    let lengthen = |mib: u32| {
        let sql = format!(
            "UPDATE ves_events SET payload = to_jsonb(repeat('x', {mib} * 1024 * 1024)) WHERE event_id = {victim}"
        );
        let _ = test_support::query(&url, &sql);
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = open(&target(&url)).await;

    lengthen(65);
    let mut view = log.view().await.unwrap();
    let copied = write_snapshot(&mut view, log.target(), &path, &NoProgress)
        .await
        .unwrap();
    assert_eq!(copied.left_out.count, 1);
    let left_out = &copied.left_out.rows[0];
    assert!(
        !left_out.in_part && left_out.what.contains("less than 64 MiB"),
        "{left_out:?}"
    );
    assert_eq!(left_out.stream().unwrap().store_id.to_string(), store);
    assert_eq!(left_out.sequence_number.unwrap().to_string(), number);
    drop(view);
    // What is in it can be read.
    drop(open(&file(&path)).await.view().await.unwrap());
    std::fs::remove_file(&path).unwrap();

    lengthen(63);
    let mut view = log.view().await.unwrap();
    write_snapshot(&mut view, log.target(), &path, &NoProgress)
        .await
        .unwrap();
    drop(view);
    let snapshot = open(&file(&path)).await;
    let mut view = snapshot.view().await.unwrap();
    let stream = format!(
        "{}/{store}",
        test_support::query(
            &url,
            &format!("SELECT tenant_id FROM ves_events WHERE event_id = {victim}")
        )
        .trim()
    );
    let streams = view
        .streams(&event_log::StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    let stream = streams
        .iter()
        .map(|s| s.stream)
        .find(|s| s.to_string() == stream)
        .unwrap();
    let number: u64 = number.parse().unwrap();
    let entry = view
        .entries(&stream, number..=number)
        .await
        .unwrap()
        .all()
        .unwrap();
    assert_eq!(entry[0].event.payload.json().len(), (63 << 20) + 2);

    // Too long for a line: its place says so, and the rest is there.
    let mut out = Vec::new();
    let counts = write_export(&mut view, &Scope::default(), false, &mut out, &NoProgress)
        .await
        .unwrap();
    assert_eq!((counts.unreadable, counts.events), (1, 503));
    let mut reader = ExportReader::new(&out[..]).unwrap();
    let (mut good, mut bad) = (0, Vec::new());
    reader
        .for_each_entry(&mut |chunk| {
            for row in chunk {
                match row {
                    Ok(_) => good += 1,
                    Err(error) => bad.push(error),
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((good, bad.len()), (503, 1));
    assert_eq!((bad[0].stream, bad[0].sequence), (Some(stream), Some(number)));
    assert!(bad[0].what.contains("less than 32 MiB"), "{}", bad[0]);
}
