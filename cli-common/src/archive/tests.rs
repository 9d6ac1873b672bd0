#![cfg(unix)]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::*;

/// A program that does as the script says, and an archive that it may be asked for.
struct Case {
    folder: tempfile::TempDir,
    reader: ArchiveReader,
    address: ArchiveAddress,
}

/// `$OUT` is where the snapshot goes.
fn case(script: &str) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("event-archive");
    let find = "for word; do [ \"$last\" = --out ] && OUT=$word; last=$word; done";
    fs::write(&program, format!("#!/bin/sh\n{find}\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let manifests = folder.path().join("manifest");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("0000000001.json"), "{}").unwrap();
    Case {
        reader: ArchiveReader::by(program),
        address: ArchiveAddress::recognise(folder.path().as_os_str()).unwrap(),
        folder,
    }
}

impl Case {
    fn copy(&self) -> Result<ArchiveCopy, ArchiveError> {
        // A script that was just written cannot be run while another thread forks with it open (ETXTBSY).
        let busy = |error: &ArchiveError| {
            matches!(error, ArchiveError::NoProgram(NotRun::Start { source, .. })
                if source.kind() == io::ErrorKind::ExecutableFileBusy)
        };
        loop {
            match self
                .reader
                .copy(&self.address, &["tenant/store".into()], &Cancel::new())
            {
                Err(error) if busy(&error) => std::thread::yield_now(),
                copied => return copied,
            }
        }
    }

    fn error(&self) -> String {
        self.copy().unwrap_err().to_string()
    }
}

#[test]
fn addresses_are_told_from_other_names() {
    let case = case("exit 0");
    let at = |name: &str| ArchiveAddress::recognise(OsStr::new(name)).map(|at| at.shown().to_owned());
    for (name, shown) in [
        ("s3://bucket/years/", "s3://bucket/years"),
        ("S3://bucket", "S3://bucket"),
        ("gs://bucket/a?token=s3cret", "gs://bucket/a?token=***"),
        ("az://me:s3cret@container/a", "az://me:***@container/a"),
        ("file:///srv/archive", "file:///srv/archive"),
    ] {
        assert_eq!(at(name).as_deref(), Some(shown), "{name}");
    }
    let folder = case.folder.path();
    assert_eq!(
        at(&format!("{}//", folder.display())),
        Some(folder.display().to_string())
    );
    for name in [
        "log.db",
        "postgres://h/d",
        "grpc://h:1",
        "s3:/bucket",
        "",
        "/",
        "manifest",
    ] {
        assert_eq!(at(name), None, "{name}");
    }
    fs::rename(
        folder.join("manifest/0000000001.json"),
        folder.join("manifest/1.json"),
    )
    .unwrap();
    assert_eq!(ArchiveAddress::recognise(folder.as_os_str()), None);
}

#[test]
fn a_copy_is_what_the_program_left() {
    let whole = case(
        r#"printf '%s ' "$@" > "$OUT"; echo noise >&2
           echo '{"schema":"event-archive-snapshot/1","manifest":3,"left_out":[],"not_checked":["signatures"],"more":1}'"#,
    );
    let copy = whole.copy().unwrap();
    let said = fs::read_to_string(copy.snapshot()).unwrap();
    let (options, address) = said.trim_end().split_once(" -- ").unwrap();
    assert!(
        options.starts_with("snapshot --quiet --color=never --format=json --out "),
        "{said}"
    );
    assert!(options.ends_with(" --stream tenant/store"), "{said}");
    assert_eq!(Path::new(address), whole.folder.path());
    assert_eq!(
        (copy.damage.as_deref(), copy.not_checked.as_slice()),
        (None, &["signatures".to_owned()][..])
    );
    assert_eq!(copy.manifest, "manifest 3");
    let path = copy.snapshot().to_owned();
    drop(copy);
    assert!(!path.parent().unwrap().exists());

    let in_part = case(
        r#": > "$OUT"; echo '{"manifest":1,"manifest_sha256":"abcd","left_out":["one","two","three"],"not_checked":[]}'; exit 4"#,
    );
    let copy = in_part.copy().unwrap();
    assert_eq!(copy.manifest, "manifest 1, SHA-256 abcd");
    assert!(copy.damage.unwrap().ends_with("left out: one (and 2 more)"));
}

#[test]
fn a_program_that_is_not_there_or_fails_is_told() {
    let mut missing = case("exit 0");
    missing.reader = ArchiveReader::by(missing.folder.path().join("none"));
    let missing = missing.copy().unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("event-archive, which reads archives, is not there"),
        "{missing}"
    );
    assert!(missing.remedy().contains("EVENT_ARCHIVE"));
    let unreachable = case("echo 'error: s3://me:s3cret@b: refused' >&2; exit 8");
    let said = unreachable.error();
    assert!(said.contains("refused") && !said.contains("s3cret"), "{said}");
    assert!(case("exit 16").error().contains("nothing was said"));
    assert!(case("kill -9 $$").error().contains("signal: 9"));
    // 12 is in part and unreachable: what is in the snapshot is then for nobody to say.
    assert!(matches!(case("exit 12").copy(), Err(ArchiveError::Failed(_))));
    for script in [
        "echo '{\"manifest\":1,\"left_out\":[],\"not_checked\":[]}'",
        ": > \"$OUT\"; echo nothing",
        ": > \"$OUT\"; echo '{}'",
        // More than is kept of a report.
        ": > \"$OUT\"; head -c 17000000 /dev/zero | tr '\\0' '['",
    ] {
        let copied = case(script).copy();
        assert!(
            matches!(copied, Err(ArchiveError::NoReport(_))),
            "{script}: {copied:?}"
        );
    }
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let mut slow = case("echo $$ > \"$(dirname \"$0\")/pid\"; exec sleep 600");
    let pid = slow.folder.path().join("pid");
    let runs = || {
        let pid = fs::read_to_string(&pid).unwrap();
        Path::new("/proc").join(pid.trim()).exists()
    };
    slow.reader.longest = Duration::from_millis(300);
    assert!(slow.error().contains("given up"));
    if Path::new("/proc/self").exists() && pid.exists() {
        assert!(!runs());
    }
    // The user stops it in the middle.
    let _ = fs::remove_file(&pid);
    slow.reader.longest = PATIENCE;
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| slow.reader.copy(&slow.address, &[], &cancel));
        let begun = Instant::now();
        while !pid.exists() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
        assert!(matches!(copied.join().unwrap(), Err(ArchiveError::Cancelled(_))));
    });
    if Path::new("/proc/self").exists() {
        assert!(!runs());
    }
}

#[test]
fn what_is_told_is_bounded() {
    let told = bounded((0..1500).map(|n| format!("{n}{}", "x".repeat(1000))).collect());
    assert_eq!(told.len(), TOLD + 1);
    assert!(told.iter().all(|what| what.chars().count() <= TOLD_CHARS));
    assert_eq!(told[TOLD], "500 more that are not named here");
}
