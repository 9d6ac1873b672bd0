//! Saved logs, good and bad, and the anchors file that comes out.

use std::fs;

use anchor_verify::anchors_file::AnchorsErrorKind;
use anchor_verify::{
    Anchor, AnchorKind, AnchorsFile, ConflictKind, ContractAddress, Import, Importer, group, tenant_store_key,
};
use serde_json::{Value, json};
use uuid::Uuid;
use ves::{BatchId, Hash32, StreamKey};

const COMMITMENT_ANCHORED: &str = "0xc780e2bc15a6058af6a033362c346780c81f2a531fa72e8fffd0570ecc91e848";
const BATCH_COMMITTED: &str = "0x1b2cc50ea54dce1d372450a8dc503a51775ab92dc7e68d579ce3fbb4af25cab3";
const ADDRESS: &str = "0x663f3ad617193148711d28f5334ee4ed07016602";

fn stream(number: u128) -> StreamKey {
    StreamKey::new(
        Uuid::from_u128(number << 64 | 1).into(),
        Uuid::from_u128(number << 64 | 2).into(),
    )
}

fn uuid_word(id: Uuid) -> String {
    format!("{}{}", id.simple(), "0".repeat(32))
}

/// A log of StateSetAnchor as a node answers it.
fn log(batch: u128, stream: StreamKey, start: u64, end: u64, root: u8) -> Value {
    let data = [
        uuid_word(stream.store_id.0),
        hex::encode([root; 32]),
        hex::encode([root; 32]),
        format!("{start:064x}"),
        format!("{end:064x}"),
        format!("{:064x}", end - start + 1),
        format!("{:064x}", 1_700_000_000),
    ];
    json!({
        "address": ADDRESS,
        "topics": [
            COMMITMENT_ANCHORED,
            format!("0x{}", uuid_word(Uuid::from_u128(batch))),
            format!("0x{}", uuid_word(stream.tenant_id.0)),
        ],
        "data": format!("0x{}", data.concat()),
        "blockHash": format!("0x{}", hex::encode([7; 32])),
        "blockNumber": "0x7",
        "blockTimestamp": "0x6553f100",
        "transactionHash": format!("0x{}", hex::encode([8; 32])),
        "transactionIndex": "0x0",
        "logIndex": format!("{batch:#x}"),
        "removed": false,
    })
}

/// The same anchor as SetRegistry logs it.
fn registry_log(batch: u128, stream: StreamKey, start: u64, end: u64, root: u8) -> Value {
    let mut log = log(batch, stream, start, end, root);
    log["address"] = "0x00000000000000000000000000000000000000aa".into();
    log["topics"][0] = BATCH_COMMITTED.into();
    log["topics"][2] = format!("0x{}", tenant_store_key(&stream)).into();
    let data = log["data"].as_str().unwrap();
    log["data"] = format!("0x{}", &data[66..66 + 5 * 64]).into();
    log
}

fn import(json: &Value) -> Import {
    let mut importer = Importer::new(None, Vec::new());
    importer
        .add_json("saved.json", json.to_string().as_bytes())
        .unwrap();
    importer.finish(&[])
}

fn anchors(logs: &[Value]) -> Vec<Anchor> {
    let import = import(&json!(logs));
    assert_eq!(import.refused, []);
    import.file.anchors
}

#[test]
fn logs_answers_and_arrays_of_answers_are_read() {
    let one = log(1, stream(1), 1, 5, 1);
    let two = log(2, stream(1), 6, 9, 2);
    let answer = |logs: &[&Value]| json!({"jsonrpc": "2.0", "id": 1, "result": logs});
    let expected = import(&json!([one, two])).file;
    assert_eq!(expected.anchors.len(), 2);
    for form in [
        answer(&[&two, &one]),
        json!([answer(&[&one]), answer(&[]), answer(&[&two])]),
        json!([one, answer(&[&two, &two])]),
    ] {
        assert_eq!(import(&form).file, expected, "{form}");
    }
    assert_eq!(import(&json!([])).logs, 0);

    for bad in [
        "",
        "7",
        "{}",
        "[",
        "\"logs\"",
        r#"{"result":null}"#,
        r#"{"result":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"query returned more than 10000 results"}}"#,
        r#"[{"error":{"code":1}}]"#,
        "\u{feff}[]",
    ] {
        let mut importer = Importer::new(None, Vec::new());
        assert!(importer.add_json("bad.json", bad.as_bytes()).is_err(), "{bad}");
        assert_eq!(importer.finish(&[]).logs, 0);
    }
}

#[test]
fn bad_logs_are_named_and_the_rest_is_read() {
    let good = || log(1, stream(1), 1, 5, 1);
    let with = |field: &str, value: Value| {
        let mut log = good();
        log[field] = value;
        log
    };
    let data = good()["data"].as_str().unwrap().to_owned();
    let bad = [
        json!(7),
        json!(null),
        json!({}),
        with("topics", json!([COMMITMENT_ANCHORED])),
        with("topics", json!(["0x12"])),
        with("data", json!(format!("{data}{}", "0".repeat(64)))),
        with("data", json!(&data[..data.len() - 64])),
        with("data", json!(&data[..data.len() - 1])),
        with("data", json!(&data[2..])),
        with("blockNumber", json!(7)),
        with("blockNumber", json!("7")),
        with("blockNumber", json!("0x")),
        with("blockNumber", json!("0x+7")),
        with("blockNumber", json!("0x10000000000000000")),
        with("blockNumber", json!(null)),
        with("blockHash", json!(null)),
        with("logIndex", json!(null)),
        with("transactionHash", json!("0x00")),
        with("blockTimestamp", json!("0x1")),
        with("address", json!("0x12")),
        with("removed", json!("yes")),
    ];
    let mut logs = bad.to_vec();
    logs.push(good());
    let import = import(&json!(logs));
    let refused: Vec<usize> = import.refused.iter().map(|r| r.index).collect();
    assert_eq!(
        refused,
        (0..bad.len()).collect::<Vec<_>>(),
        "{:#?}",
        import.refused
    );
    assert!(import.refused[0].to_string().starts_with("saved.json: log 0: "));
    assert_eq!(import.file.anchors.len(), 1);
}

#[test]
fn logs_that_are_passed_over_are_counted() {
    let mut removed = log(1, stream(1), 1, 5, 1);
    removed["removed"] = true.into();
    let mut unknown = log(2, stream(1), 6, 9, 1);
    unknown["topics"][0] = format!("0x{}", "12".repeat(32)).into();
    let mut summary = log(3, stream(1), 6, 9, 1);
    summary["topics"][0] = "0x569739a8a132d28586d65d35b6a86902bf0adbce83a4651378ff888d03b70255".into();
    let mut foreign = log(4, stream(1), 10, 11, 1);
    foreign["address"] = "0x00000000000000000000000000000000000000AA".into();
    let mut untimed = log(5, stream(1), 12, 13, 1);
    untimed.as_object_mut().unwrap().remove("blockTimestamp");
    let logs = json!([removed, unknown, unknown, summary, foreign, untimed, untimed]);
    let contract: ContractAddress = ADDRESS.parse().unwrap();
    let mut importer = Importer::new(Some(9), vec![contract]);
    importer.add_json("x", logs.to_string().as_bytes()).unwrap();
    let import = importer.finish(&[]);
    assert_eq!(
        (
            import.removed,
            import.summaries,
            import.other_contracts,
            import.repeated
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(import.unknown_topics.values().sum::<usize>(), 2);
    assert_eq!(
        (import.logs, import.file.anchors.len(), import.file.chain_id),
        (7, 1, Some(9))
    );
    // The event itself names the time.
    assert_eq!(import.file.anchors[0].block_timestamp, Some(1_700_000_000));
}

#[test]
fn what_both_contracts_say_is_one_batch() {
    let anchors = anchors(&[
        registry_log(1, stream(1), 1, 5, 1),
        log(1, stream(1), 1, 5, 1),
        registry_log(2, stream(2), 1, 3, 2),
    ]);
    let view = group(&anchors, &[]);
    assert_eq!(view.conflicts, []);
    let first = view.stream(&stream(1)).unwrap();
    assert_eq!((first.batches.len(), first.head()), (1, Some(5)));
    let kinds: Vec<AnchorKind> = first.batches[0].places.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [AnchorKind::SetRegistry, AnchorKind::StateSetAnchor]);
    assert_eq!(view.stream(&stream(2)), None);
    assert_eq!(
        view.unresolved().next().unwrap().tenant_store_key,
        tenant_store_key(&stream(2))
    );
    assert!(group(&anchors, &[stream(2)]).stream(&stream(2)).is_some());
}

#[test]
fn contradictions_are_returned() {
    let kinds = |logs: &[Value]| {
        let view = group(&anchors(logs), &[]);
        let contested = view
            .streams
            .iter()
            .flat_map(|s| &s.batches)
            .filter(|b| b.contested)
            .map(|b| b.batch_id.0.as_u128());
        let contested: Vec<u128> = contested.collect();
        (
            view.conflicts.iter().map(|c| c.kind).collect::<Vec<_>>(),
            contested,
        )
    };
    let s = stream(1);
    let base = log(1, s, 1, 10, 1);
    assert_eq!(kinds(&[base.clone(), log(2, s, 11, 20, 2)]), (vec![], vec![]));
    // Another stream has its own positions.
    assert_eq!(
        kinds(&[base.clone(), log(2, stream(2), 1, 10, 2)]),
        (vec![], vec![])
    );
    // Committed again under another id, with the same outcome.
    assert_eq!(kinds(&[base.clone(), log(2, s, 1, 10, 1)]), (vec![], vec![]));
    assert_eq!(
        kinds(&[base.clone(), log(2, s, 1, 10, 2)]),
        (vec![ConflictKind::Range], vec![1, 2])
    );
    assert_eq!(
        kinds(&[base.clone(), log(2, s, 10, 20, 2)]),
        (vec![ConflictKind::Overlap], vec![1, 2])
    );
    assert_eq!(
        kinds(&[base.clone(), log(2, s, 1, 9, 2)]),
        (vec![ConflictKind::Overlap], vec![2, 1])
    );
    assert_eq!(
        kinds(&[
            base.clone(),
            log(2, s, 2, 3, 2),
            log(3, s, 4, 4, 2),
            log(4, s, 11, 12, 2)
        ]),
        (vec![ConflictKind::Overlap; 2], vec![1, 2, 3])
    );
    // All that say the same are contested with it.
    assert_eq!(
        kinds(&[base.clone(), log(2, s, 1, 10, 1), log(3, s, 1, 10, 3)]).1,
        [1, 2, 3]
    );
    assert_eq!(
        kinds(&[base.clone(), log(2, s, 1, 10, 1), log(3, s, 5, 5, 3)]).1,
        [1, 2, 3]
    );
    // One id for two things: roots, ranges, streams.
    for other in [
        registry_log(1, s, 1, 10, 2),
        registry_log(1, s, 11, 20, 1),
        registry_log(1, stream(2), 1, 10, 1),
    ] {
        assert_eq!(
            kinds(&[base.clone(), other]),
            (vec![ConflictKind::BatchId], vec![1, 1])
        );
    }
}

fn file() -> AnchorsFile {
    AnchorsFile::new(
        Some(5),
        anchors(&[log(1, stream(1), 1, 5, 1), registry_log(1, stream(1), 1, 5, 1)]),
    )
}

fn reread(change: impl FnOnce(&mut Value)) -> Result<AnchorsFile, AnchorsErrorKind> {
    let mut text = Vec::new();
    file().write_json(&mut text).unwrap();
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    change(&mut json);
    AnchorsFile::from_json(json.to_string().as_bytes())
}

#[test]
fn anchors_files_read_back_and_others_are_refused() {
    assert_eq!(reread(|_| {}).unwrap(), file());
    // The older form is the same without proofs.
    assert_eq!(
        reread(|json| json["schema"] = "anchors/1".into()).unwrap(),
        file()
    );
    let with_headers = |json: &mut Value| {
        json["schema"] = "anchors/1".into();
        json["headers"] = json!([]);
    };
    assert!(reread(with_headers).is_err());
    let error = reread(|json| json["schema"] = "anchors/3".into()).unwrap_err();
    assert!(
        matches!(&error, AnchorsErrorKind::OtherSchema(v) if v == "anchors/3"),
        "{error}"
    );
    // A later version may be different in all else.
    let later = br#"{"schema":"anchors/7","anchors":"elsewhere"}"#;
    assert!(matches!(
        AnchorsFile::from_json(later),
        Err(AnchorsErrorKind::OtherSchema(_))
    ));
    for bad in [
        "",
        "{}",
        "[]",
        "7",
        r#"{"schema":7}"#,
        r#"{"schema":"anchors/1"}"#,
    ] {
        let error = AnchorsFile::from_json(bad.as_bytes()).unwrap_err();
        assert!(
            matches!(error, AnchorsErrorKind::NotAnchors(..)),
            "{bad}: {error}"
        );
    }
    let logs = json!([log(1, stream(1), 1, 5, 1)]).to_string();
    let error = AnchorsFile::from_json(logs.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("anchor-verify import"), "{error}");

    let bad: [fn(&mut Value); 9] = [
        |json| json["more"] = 1.into(),
        |json| json["anchors"][0]["more"] = 1.into(),
        |json| json["anchors"][0]["events_root"] = "0xab".into(),
        |json| json["anchors"][0]["sequence_start"] = 0.into(),
        |json| json["anchors"][0]["sequence_end"] = 6.into(),
        |json| json["anchors"][0]["sequence_end"] = json!(-1),
        |json| json["anchors"][0]["stream"] = json!({"tenant_id": Uuid::nil(), "store_id": Uuid::nil()}),
        |json| json["anchors"][0]["kind"] = "other".into(),
        |json| json["anchors"][0]["contract"] = "0x12".into(),
    ];
    for change in bad {
        assert!(reread(change).is_err());
    }
    let error = reread(|json| {
        for anchor in json["anchors"].as_array_mut().unwrap() {
            anchor.as_object_mut().unwrap().remove("stream");
        }
    });
    assert!(matches!(error, Err(AnchorsErrorKind::BadAnchor { .. })));
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("anchors.json");
    fs::write(&path, "something older").unwrap();
    file().write(&path).unwrap();
    assert_eq!(AnchorsFile::read(&path).unwrap(), file());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(file().write(&dir.path().join("nowhere/anchors.json")).is_err());
    let error = AnchorsFile::read(&dir.path().join("missing.json")).unwrap_err();
    assert!(error.to_string().contains("missing.json"));
}

#[test]
fn resolving_names_streams_by_their_hash_alone() {
    let mut file = AnchorsFile::new(None, anchors(&[registry_log(1, stream(1), 1, 5, 1)]));
    assert_eq!(file.resolve(&[stream(2)]), 0);
    assert_eq!(file.resolve(&[stream(2), stream(1)]), 1);
    assert_eq!(file.anchors[0].stream, Some(stream(1)));
    assert_eq!(file.anchors[0].batch_id, BatchId(Uuid::from_u128(1)));
    assert_eq!(file.anchors[0].events_root, Hash32([1; 32]));
}

#[test]
fn what_enters_no_proof_may_be_anything() {
    let good = log(1, stream(1), 1, 5, 1);
    let seconds = 0x6553_f100_u64;
    for (field, values) in [
        (
            "blockTimestamp",
            vec![
                json!(null),
                json!(seconds),
                json!(seconds.to_string()),
                json!("long ago"),
                json!(1.5),
            ],
        ),
        (
            "transactionIndex",
            vec![json!(null), json!(3), json!("three"), json!({})],
        ),
        (
            "removed",
            vec![json!(null), json!(false), json!("false"), json!(0)],
        ),
        ("somethingElse", vec![json!([1, {"a": null}])]),
    ] {
        for value in values {
            let mut other = good.clone();
            other[field] = value.clone();
            assert_eq!(
                anchors(&[other]),
                anchors(std::slice::from_ref(&good)),
                "{field}: {value}"
            );
        }
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(anchors(&[without]).len(), 1, "{field}");
    }
    // No receipt and no storage has the transaction: without it, it is not known.
    for missing in [json!(null), json!(0)] {
        let mut other = good.clone();
        match missing.is_null() {
            true => other["transactionHash"] = missing,
            false => drop(other.as_object_mut().unwrap().remove("transactionHash")),
        }
        assert_eq!(anchors(&[other])[0].transaction_hash, Hash32::ZERO);
    }
}

#[test]
fn errors_are_found_wherever_they_are_and_named() {
    let logs = json!([log(1, stream(1), 1, 5, 1)]);
    let answer = json!({"jsonrpc": "2.0", "id": 2, "result": logs});
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "rate limit"}});
    let null_answer = json!({"jsonrpc": "2.0", "id": 1, "result": null});
    let line = |value: &Value| value.to_string();
    for (text, named) in [
        (line(&json!({"0-30": error, "31-150": answer})), "\"0-30\""),
        (
            line(&json!({"0x0-0x1e": null_answer, "0x1f-0x96": answer})),
            "\"0x0-0x1e\"",
        ),
        (line(&json!({"0..30": null, "31..150": logs})), "no answer"),
        (line(&json!({"0-30": "timeout", "31-150": logs})), "timeout"),
        (
            line(&json!([answer, [answer, {"chunks": {"7": [error]}}]])),
            "rate limit",
        ),
        (line(&json!([answer, null_answer])), "item 2"),
        (
            line(&json!({"answers": [{"result": {"error": {"code": 1}}}]})),
            "error",
        ),
        (format!("{}\n{}\n", line(&answer), line(&error)), "answer 2"),
        (format!("{}\n{{\"jsonrpc\":", line(&answer)), "behind 1 answers"),
        ("<!DOCTYPE html><html>429</html>".to_owned(), "HTML"),
        (format!("\u{feff}{}", line(&answer)), "byte order mark"),
        ("   ".to_owned(), "empty"),
    ] {
        let mut importer = Importer::new(None, Vec::new());
        let why = importer
            .add_json("saved.json", text.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(why.contains(named), "{text}: {why}");
        assert_eq!(importer.finish(&[]).file.anchors, []);
    }
    // Answers one on each line are read, and none of these is an error.
    let more = json!({"jsonrpc": "2.0", "id": 3, "error": null, "result": [log(2, stream(1), 6, 9, 2)]});
    let mut importer = Importer::new(None, Vec::new());
    let lines = format!("{}\r\n{}\n", line(&answer), line(&more));
    importer.add_json("saved.ndjson", lines.as_bytes()).unwrap();
    assert_eq!(importer.finish(&[]).file.anchors.len(), 2);

    // Through the command: nothing is taken, and the status says so.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    fs::write(&path, line(&json!({"0-30": error, "31-150": answer}))).unwrap();
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .args(["import", path.to_str().unwrap(), "--out"])
        .arg(dir.path().join("anchors.json"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(8) && said.contains("0-30"), "{said}");
    assert!(!dir.path().join("anchors.json").exists());
}

#[test]
fn addresses_with_a_checksum_are_checked() {
    let right = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let address: ContractAddress = right.parse().unwrap();
    for same in [
        right.to_lowercase(),
        right[2..].to_uppercase(),
        right[2..].to_owned(),
    ] {
        assert_eq!(same.parse(), Ok(address));
    }
    for wrong in [
        "0x5fbDB2315678afecb367f032d93F642f64180aa3",
        "0x5FbDB2315678afecb367f032d93F642f64180aa4",
    ] {
        assert!(
            wrong.parse::<ContractAddress>().unwrap_err().contains("checksum"),
            "{wrong}"
        );
    }
    // In saved answers the case says nothing.
    let mut other = log(1, stream(1), 1, 5, 1);
    other["address"] = "0x5fbDB2315678afecb367f032d93F642f64180aa3".into();
    assert_eq!(anchors(&[other])[0].contract, address);
}
