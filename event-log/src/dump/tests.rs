use super::*;

const HEADER: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.14 (Debian)\n-- Dumped by \
                      pg_dump version 17.2\n\n-- Started on 2026-11-28 02:00:00 UTC\n\nSET client_encoding = 'UTF8';\n";
const END: &str = "\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n";

fn counters(schema: &str, rows: &str) -> String {
    format!(
        "COPY {schema}ves_sequence_counters (updated_at, extra, tenant_id, \"store_id\", current_sequence) FROM stdin;\n{rows}\\.\n"
    )
}

fn events(rows: &str) -> String {
    format!(
        "COPY public.ves_events (sequence_number, event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, \
         agent_key_id, entity_type, entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, payload, \
         payload_encrypted, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature) FROM \
         stdin;\n{rows}\\.\n"
    )
}

fn read(text: &str) -> Result<(DumpInfo, tempfile::TempDir), DumpError> {
    let dir = tempfile::tempdir().unwrap();
    let info = read_dump(text.as_bytes(), &dir.path().join("log.db"), &Cancel::new())?;
    Ok((info, dir))
}

fn refused(text: &str) -> String {
    match read(text) {
        Err(DumpError::Refused(what)) => what,
        other => panic!("{other:?}"),
    }
}

const ROW: &str = "2026-11-20 05:57:08.59+00\tx\t3F95FEB8-ba6d-4837-8229-ef7df24d5075\t145a2de2-c9a5-4169-8d6a-e7d30b2bcdaf\t168\n";

#[test]
fn columns_stand_in_any_order_and_rows_that_cannot_be_read_are_named() {
    let bad = ROW.replace("\t168", "\tmany");
    let text = format!(
        "{HEADER}{}{}{END}",
        counters("public.", &format!("{ROW}{bad}half\n")),
        events("")
    );
    let (info, dir) = read(&text).unwrap();
    assert!(info.complete);
    assert_eq!(info.server_version.as_deref(), Some("15.14 (Debian)"));
    assert_eq!(info.tool_version.as_deref(), Some("17.2"));
    assert_eq!(info.started.as_deref(), Some("2026-11-28 02:00:00 UTC"));
    assert_eq!(info.rows["ves_sequence_counters"], 1);
    assert_eq!(info.unreadable_count, 2);
    assert!(
        info.unreadable[0].contains("current_sequence: not a number: \"many\""),
        "{info:?}"
    );
    assert!(
        info.unreadable[1].contains("has 1 fields instead of 5"),
        "{info:?}"
    );
    let file = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    let row: (String, i64, String) = file
        .query_row(
            "SELECT tenant_id, current_sequence, updated_at FROM ves_sequence_counters",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(
        row,
        (
            "3f95feb8-ba6d-4837-8229-ef7df24d5075".into(),
            168,
            "2026-11-20T05:57:08.590000Z".into()
        )
    );
}

#[test]
fn a_dump_that_was_cut_off_is_read_as_far_as_it_goes() {
    let whole = format!("{HEADER}{}{}{END}", events(""), counters("", ROW));
    assert!(read(&whole).unwrap().0.complete);
    let cut = whole.split(END).next().unwrap();
    let (info, _dir) = read(cut).unwrap();
    assert!(!info.complete && info.rows["ves_sequence_counters"] == 1);
    let (info, _dir) = read(&cut[..cut.len() - 10]).unwrap();
    assert!(!info.complete);
    assert_eq!(
        (info.unreadable_count, info.unreadable[0].ends_with("is cut off")),
        (1, true),
        "{info:?}"
    );
    // Windows' line ends and a mark of the encoding change nothing.
    let (info, _dir) = read(&format!("\u{feff}{}", whole.replace('\n', "\r\n"))).unwrap();
    assert!(info.complete && info.unreadable_count == 0, "{info:?}");
}

#[test]
fn what_cannot_be_read_is_refused_in_a_sentence() {
    assert!(refused(&format!("{HEADER}{END}")).contains("holds no log"));
    assert!(
        refused(&format!(
            "{HEADER}INSERT INTO public.ves_events VALUES (1);\n{END}"
        ))
        .contains("--inserts")
    );
    let twice = format!("{HEADER}{}{}{END}", counters("a.", ROW), counters("b.", ROW));
    assert!(refused(&twice).contains("in the schemas a and b"));
    assert!(refused(&HEADER.replace("UTF8", "LATIN1")).contains("--encoding=UTF8"));
    let lacking = format!("{HEADER}COPY public.ves_events (event_id) FROM stdin;\n\\.\n{END}");
    assert!(refused(&lacking).contains("lacks the column(s)"));
    // Another program's table of such a name is not the log's.
    let other = format!(
        "{HEADER}COPY app.events (id) FROM stdin;\n1\n\\.\n{}{END}",
        events("")
    );
    let (info, _dir) = read(&other).unwrap();
    assert!(info.complete && info.not_checked[0].contains("app.events"));
}

#[test]
fn counters_of_an_older_level_are_those_of_the_log() {
    let older = counters("public.", ROW).replace("ves_sequence_counters", "sequence_counters");
    let (_, dir) = read(&format!("{HEADER}{older}{}{END}", events(""))).unwrap();
    let file = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    let counter: i64 = file
        .query_row("SELECT current_sequence FROM ves_sequence_counters", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(counter, 168);
}

#[test]
fn dumps_are_told_by_their_first_lines() {
    assert!(looks_like_dump(HEADER.as_bytes()));
    assert!(looks_like_dump(format!("\u{feff}{HEADER}").as_bytes()));
    assert!(looks_like_dump(b"COPY ves_events (a) FROM stdin;"));
    assert!(!looks_like_dump(b"-- a note") && !looks_like_dump(b"{}") && !looks_like_dump(b""));
}
