//! Bundles: what was put in comes out, the same bytes each time, and hostile ones are refused in bounded memory.

use crate::common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anchor_verify::bundle::{
    Bundle, Contents, CutBatches, MAX_UNPACKED, cut_batches, looks_like_bundle, write_bundle,
};
use anchor_verify::partial::PartialBatch;
use anchor_verify::verify::{DbSource, VerifyError};
use anchor_verify::{AnchorsFile, Existing, Verdict, VerifyReport};
use cli_common::{DbTarget, ExitStatus, NoProgress};
use common::{Check, Lines, Real, counts, flip, trusted};
use event_log::Scope;
use fixtures::{World, WorldSpec};
use serde_json::Value;

/// A part of a log with all of its payloads.
fn whole<'a>(scope: &'a Scope, anchors: &'a AnchorsFile) -> Contents<'a> {
    Contents {
        scope,
        anchors,
        partial: &[],
        redact: false,
    }
}

fn world() -> World {
    World::generate(&WorldSpec {
        events_per_stream: 50,
        batch_size: 12,
        ..WorldSpec::honest(8)
    })
}

fn write(snapshot: &Path, scope: &Scope, anchors: &AnchorsFile, redact: bool, path: &Path) {
    let target = DbTarget::Snapshot(snapshot.to_owned());
    let mut source = DbSource::open(&target, scope.clone()).unwrap();
    let cut = match (&scope.streams[..], &scope.range) {
        ([stream], Some(range)) => cut_batches(&mut source, stream, range, anchors).unwrap().partial,
        _ => Vec::new(),
    };
    let contents = Contents {
        scope,
        anchors,
        partial: &cut,
        redact,
    };
    write_bundle(&mut source, &contents, path, Existing::Replace, &NoProgress).unwrap();
}

fn verified(bundle: Bundle<impl std::io::BufRead>) -> Result<VerifyReport, VerifyError> {
    let Bundle { anchors, mut log } = bundle;
    Check {
        anchors: Some((&anchors, &trusted(&anchors))),
        sequencer_keys: Default::default(),
        shard: None,
    }
    .source(&mut log)
}

fn read(packed: &[u8]) -> Result<VerifyReport, VerifyError> {
    verified(Bundle::read("test", packed, MAX_UNPACKED)?)
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut text)
        .unwrap();
    text
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_bundle_verifies_alone_and_has_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let snapshot = folder.path().join("log.db");
    world.write_log(&snapshot).unwrap();
    let anchors = world.anchors_file();
    let (first, second) = (
        folder.path().join("a.vesbundle"),
        folder.path().join("b.vesbundle"),
    );
    write(&snapshot, &Scope::default(), &anchors, false, &first);
    write(&snapshot, &Scope::default(), &anchors, false, &second);
    let bytes = fs::read(&first).unwrap();
    assert_eq!(bytes, fs::read(&second).unwrap());
    assert!(looks_like_bundle(&first).unwrap() && !looks_like_bundle(&snapshot).unwrap());
    // Replaced as a whole, and nothing else is left behind.
    write(&snapshot, &Scope::default(), &anchors, false, &first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);

    let opened = Bundle::open(&first).unwrap();
    assert_eq!(opened.anchors, anchors);
    let report = verified(opened).unwrap();
    assert_eq!(
        (report.totals.batches.proven as usize, report.exit_status()),
        (world.anchors().len(), ExitStatus::OK)
    );
    assert_eq!(report.totals.events, world.log().event_count() as u64);
    assert!(unpack(&bytes).len() > 2 * bytes.len(), "it is compressed");

    // Without payloads everything but their hashes still verifies.
    write(&snapshot, &Scope::default(), &anchors, true, &second);
    let redacted = fs::read(&second).unwrap();
    assert!(redacted.len() < bytes.len());
    let text = String::from_utf8(unpack(&redacted)).unwrap();
    let some = world.log().events().find_map(|e| match &e.event.payload {
        ves::Payload::Plain(json) if json.len() > 20 => Some(serde_json::to_string(json).unwrap()),
        _ => None,
    });
    assert!(!text.contains(some.unwrap().trim_matches('"')) && !text.contains("\"payload\":"));
    let report = read(&redacted).unwrap();
    assert_eq!(
        (report.totals.batches.proven as usize, report.exit_status()),
        (world.anchors().len(), ExitStatus::OK)
    );
    let said = format!(
        "{} × payload hash: the payload was left out",
        report.totals.events
    );
    assert!(report.not_checked.contains(&said), "{:?}", report.not_checked);
}

#[test]
fn a_part_of_a_stream_verifies_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let snapshot = folder.path().join("log.db");
    world.write_log(&snapshot).unwrap();
    let anchors = world.anchors_file();
    let stream = *world.log().streams.keys().nth(2).unwrap();
    let path = folder.path().join("part.vesbundle");
    // Whole batches: 13 to 36 are the second and third.
    let scope = |range| Scope {
        streams: vec![stream],
        range: Some(range),
    };
    write(&snapshot, &scope(13..=36), &anchors, false, &path);
    let opened = Bundle::open(&path).unwrap();
    assert_eq!(opened.anchors.anchors.len(), 4, "those of the two batches only");
    let report = verified(opened).unwrap();
    assert_eq!(
        (
            report.totals.batches.proven,
            report.totals.events,
            report.streams.len()
        ),
        (2, 24, 1)
    );
    assert_eq!(
        (report.verdict, report.exit_status()),
        (Verdict::Proven, ExitStatus::OK)
    );
    assert!(
        report
            .not_checked
            .iter()
            .any(|w| w.contains("the commitment before is not in the input"))
    );
    // One that cuts batches: their parts verify, by hashes that stand for the rest.
    let target = DbTarget::Snapshot(snapshot.clone());
    let mut source = DbSource::open(&target, scope(10..=30)).unwrap();
    let cut = cut_batches(&mut source, &stream, &(10..=30), &anchors).unwrap();
    let ranges = |cut: &CutBatches| -> Vec<_> {
        let range = |p: &PartialBatch| (p.sequence_start, p.sequence_end, p.from, p.to);
        cut.partial.iter().map(range).collect()
    };
    assert_eq!(ranges(&cut), [(1, 12, 10, 12), (25, 36, 25, 30)]);
    assert!(cut.unverifiable.is_empty());
    write(&snapshot, &scope(10..=30), &anchors, false, &path);
    let report = verified(Bundle::open(&path).unwrap()).unwrap();
    assert_eq!((report.totals.batches.proven, report.totals.events), (3, 21));
    assert_eq!(
        (report.verdict, report.exit_status()),
        (Verdict::Proven, ExitStatus::OK)
    );
    assert_eq!(report.units[0].part, Some((10, 12)));
    assert_eq!(report.units[1].part, None);
    let said = "2 × the batch's other events: the input has only hashes that stand for them";
    assert!(
        report.not_checked.iter().any(|w| w == said),
        "{:?}",
        report.not_checked
    );
    // Without these hashes nobody can judge the parts, and it says so.
    let without = |scope: &Scope, path: &Path| {
        let mut source = DbSource::open(&target, scope.clone()).unwrap();
        write_bundle(
            &mut source,
            &whole(scope, &anchors),
            path,
            Existing::Replace,
            &NoProgress,
        )
        .unwrap();
        verified(Bundle::open(path).unwrap()).unwrap()
    };
    let report = without(&scope(10..=30), &path);
    assert_eq!(
        (report.totals.batches.proven, report.totals.batches.not_checked),
        (1, 2)
    );
    assert_eq!(
        (counts(&report, Verdict::Failed), report.exit_status()),
        (0, ExitStatus::PROBLEMS)
    );
    // A stream that is not there leaves no file.
    let nobody = Scope {
        streams: vec![ves::StreamKey::new(stream.tenant_id, uuid::Uuid::nil().into())],
        range: None,
    };
    let path = folder.path().join("none.vesbundle");
    let contents = whole(&nobody, &anchors);
    let error = write_bundle(&mut source, &contents, &path, Existing::Keep, &NoProgress).unwrap_err();
    assert!(
        error.to_string().contains("is not in it") && !path.exists(),
        "{error}"
    );
}

#[test]
fn a_part_that_was_altered_fails() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let snapshot = folder.path().join("log.db");
    world.write_log(&snapshot).unwrap();
    let anchors = world.anchors_file();
    let stream = *world.log().streams.keys().nth(2).unwrap();
    let path = folder.path().join("part.vesbundle");
    let scope = Scope {
        streams: vec![stream],
        range: Some(16..=19),
    };
    write(&snapshot, &scope, &anchors, false, &path);
    let text = unpack(&fs::read(&path).unwrap());
    let header_end = text.iter().position(|b| *b == b'\n').unwrap();
    let header: Value = serde_json::from_slice(&text[..header_end]).unwrap();
    assert_eq!(header["partial"][0]["nodes"].as_array().unwrap().len(), 4);
    let judged = |alter: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        alter(&mut header["partial"]);
        let mut altered = serde_json::to_vec(&header).unwrap();
        altered.extend_from_slice(&text[header_end..]);
        let report = read(&pack(&altered)).unwrap();
        (report.units[0].verdict, report.exit_status())
    };
    assert_eq!(judged(&|_| ()), (Verdict::Proven, ExitStatus::OK));
    // Another hash, or two in each other's place: another root.
    let failed = (Verdict::Failed, ExitStatus::PROBLEMS);
    assert_eq!(
        judged(&|p| p[0]["nodes"][1] = Value::from("11".repeat(32))),
        failed
    );
    assert_eq!(
        judged(&|p| {
            let nodes = p[0]["nodes"].as_array_mut().unwrap();
            nodes.swap(0, 1);
        }),
        failed
    );
    // Too many, too few, another part, another batch, none: nothing that could be judged.
    let unjudged = (Verdict::NotChecked, ExitStatus::PROBLEMS);
    assert_eq!(
        judged(&|p| p[0]["nodes"]
            .as_array_mut()
            .unwrap()
            .push(Value::from("11".repeat(32)))),
        unjudged
    );
    assert_eq!(judged(&|p| p[0]["nodes"] = Value::Array(Vec::new())), unjudged);
    assert_eq!(judged(&|p| p[0]["from"] = 17.into()), unjudged);
    assert_eq!(judged(&|p| p[0]["sequence_end"] = u64::MAX.into()), unjudged);
    assert_eq!(judged(&|p| p[0]["sequence_start"] = 0.into()), unjudged);
    assert_eq!(judged(&|p| *p = Value::Array(Vec::new())), unjudged);
    // An event of the part that is missing is still missed.
    let lines: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().collect();
    let event = lines
        .iter()
        .position(|l| l.contains("\"type\":\"event\""))
        .unwrap();
    let counted = lines.last().unwrap().replace("\"events\":4", "\"events\":3");
    let mut fewer: Vec<&str> = lines.clone();
    fewer.remove(event);
    *fewer.last_mut().unwrap() = &counted;
    let report = read(&pack(format!("{}\n", fewer.join("\n")).as_bytes())).unwrap();
    assert_eq!(
        (report.units[0].verdict, report.units[0].missing),
        (Verdict::Failed, 1)
    );
}

#[test]
fn hostile_bundles_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let world = world();
    let snapshot = folder.path().join("log.db");
    world.write_log(&snapshot).unwrap();
    let path = folder.path().join("a.vesbundle");
    write(&snapshot, &Scope::default(), &world.anchors_file(), false, &path);
    let honest = fs::read(&path).unwrap();
    let text = unpack(&honest);
    assert_eq!(read(&pack(&text)).unwrap(), read(&honest).unwrap());
    let refused = |packed: &[u8]| read(packed).unwrap_err().to_string();

    // Damaged, cut off, with something behind, of another kind.
    assert!(refused(b"").contains("not a bundle"));
    assert!(refused(b"no gzip at all").contains("not a bundle"));
    assert!(refused(&pack(b"")).contains("not a bundle"));
    assert!(refused(&pack(b"{\"schema\":\"vesbundle/2\"}\n")).contains("vesbundle/2"));
    for cut in [20, honest.len() / 2, honest.len() - 9, honest.len() - 1] {
        refused(&honest[..cut]);
    }
    let mut damaged = honest.clone();
    damaged[honest.len() / 2] ^= 0x10;
    refused(&damaged);
    let mut damaged = honest.clone();
    let crc = honest.len() - 7;
    damaged[crc] ^= 1;
    refused(&damaged);
    assert!(refused(&[&honest[..], b"x"].concat()).contains("behind the end"));
    assert!(refused(&[&honest[..], &honest[..]].concat()).contains("behind the end"));
    assert!(refused(&pack(&text[..text.len() - 30])).contains("cut off"));

    // The length of the anchors.
    let line_end = text.iter().position(|b| *b == b'\n').unwrap();
    let header = String::from_utf8(text[..line_end].to_vec()).unwrap();
    let with_header = |header: &str| pack(&[header.as_bytes(), &text[line_end..]].concat());
    let length = header
        .split("\"anchors_bytes\":")
        .nth(1)
        .unwrap()
        .trim_end_matches('}');
    for other in ["0", "10", "99999999", "18446744073709551615", "-1"] {
        refused(&with_header(&header.replace(length, other)));
    }
    refused(&with_header(&header.replace("\"bundle\"", "\"other\"")));
    refused(&with_header(&header.replace('}', ",\"more\":1}")));

    // Bombs: more than the limit, and a line without an end.
    let limited = Bundle::read("test", &honest[..], 10_000).map(|_| ()).unwrap_err();
    assert!(limited.to_string().contains("unpacks to more than"), "{limited}");
    let bomb = pack(&[&text[..], &vec![b' '; 100 << 20][..]].concat());
    assert!(bomb.len() < 1 << 20 && refused(&bomb).contains("longer than"));
    let at = text.windows(14).position(|w| w == b"{\"type\":\"event").unwrap();
    let endless = pack(&[&text[..at], &vec![b' '; 100 << 20][..]].concat());
    assert!(refused(&endless).contains("longer than"));
    let endless = pack(&vec![b' '; 100 << 20]);
    assert!(refused(&endless).contains("not a bundle"));

    // An altered event is FAILED, as anywhere.
    let log = text
        .windows(16)
        .position(|w| w == b"{\"type\":\"header\"")
        .unwrap();
    let mut lines = Lines::of(std::str::from_utf8(&text[log..]).unwrap());
    let event = lines.places("event")[20];
    flip(&mut lines.0[event]["agent_signature"]);
    let report = read(&pack(&[&text[..log], lines.text().as_bytes()].concat())).unwrap();
    assert_eq!(report.failed().count(), 1);
}

#[test]
fn a_real_log_fits_into_a_bundle() {
    let Some(real) = Real::load("golden", "log.copy.sql") else {
        return;
    };
    let path = real.path().join("golden.vesbundle");
    write(&real.snapshot, &Scope::default(), &real.anchors, false, &path);
    let report = verified(Bundle::open(&path).unwrap()).unwrap();
    assert_eq!((report.totals.batches.proven, report.totals.events), (39, 2061));
    assert_eq!(report.failed().count(), 0);
}
