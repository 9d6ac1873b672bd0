use std::fs;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    fn outbox(&self, name: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        let connection = rusqlite::Connection::open(self.at(name)).unwrap();
        // Each with a content of its own.
        let sql = format!("CREATE TABLE _ves_outbox (a); CREATE TABLE \"of {name}\" (a);");
        connection.execute_batch(&sql).unwrap();
    }

    fn names(&self, found: &Inputs) -> Vec<String> {
        let name = |p: &PathBuf| p.strip_prefix(self.0.path()).unwrap().display().to_string();
        found.files.iter().map(name).collect()
    }

    fn not_used(&self, found: &Inputs) -> Vec<(String, bool)> {
        let prefix = format!("{}/", self.0.path().display());
        found
            .not_used
            .iter()
            .map(|n| (n.path.replace(&prefix, ""), n.may_be_outbox))
            .collect()
    }
}

fn read<S: AsRef<str>>(inputs: &[S]) -> Inputs {
    expand_inputs(inputs, &[], Purpose::Read).unwrap()
}

#[test]
fn files_folders_and_patterns() {
    let dir = Folder::new();
    for name in ["b.db", "a.sqlite3", "odd[1].db", "sub/d.db", "sub/deep/e"] {
        dir.outbox(name);
    }
    for name in ["b.db-wal", "b.db-shm", "c.txt"] {
        fs::write(dir.at(name), "x").unwrap();
    }
    fs::create_dir(dir.at("empty")).unwrap();
    let all = ["a.sqlite3", "b.db", "odd[1].db", "sub/d.db", "sub/deep/e"];
    assert_eq!(dir.names(&read(&[dir.text("")])), all);
    assert_eq!(
        dir.names(&read(&[
            dir.text("*b.*"),
            dir.text("b.db"),
            dir.text("sub/../b.db")
        ])),
        ["b.db"]
    );
    assert_eq!(
        dir.names(&read(&[dir.text("**/*.db")])),
        ["b.db", "odd[1].db", "sub/d.db"]
    );
    assert_eq!(dir.names(&read(&[dir.text("odd[1].db")])), ["odd[1].db"]);
    // Twice the same folder is no folder without an outbox.
    assert_eq!(
        dir.names(&read(&[dir.text("sub"), dir.text("sub/")])),
        ["sub/d.db", "sub/deep/e"]
    );
    let found = read(&[dir.text("")]);
    assert_eq!(dir.not_used(&found), [("c.txt".into(), false)]);
    for bad in ["none.db", "x*.db", "empty", "b.db-wal", "***"] {
        let error = expand_inputs(&[dir.text(bad)], &[], Purpose::Read).unwrap_err();
        assert!(error.to_string().starts_with(&dir.text(bad)), "{error}");
    }
}

#[test]
fn what_may_be_an_outbox_is_told_from_what_is_none() {
    let dir = Folder::new();
    for name in ["x.db.bak", "x.DB", "x.db3", "sub/outbox.db"] {
        dir.outbox(name);
    }
    fs::write(dir.at("lone.db-wal"), "frames").unwrap();
    fs::write(dir.at("gone.db-shm"), "index").unwrap();
    fs::write(dir.at("zero.db"), "").unwrap();
    fs::copy(dir.at("x.DB"), dir.at("again")).unwrap();
    let found = read(&[dir.text("")]);
    assert_eq!(dir.names(&found), ["again", "sub/outbox.db", "x.db.bak", "x.db3"]);
    let not_used = dir.not_used(&found);
    for expected in [
        ("lone.db-wal", true),
        ("gone.db-shm", false),
        ("zero.db", true),
        ("x.DB", false),
    ] {
        assert!(
            not_used.contains(&(expected.0.into(), expected.1)),
            "{expected:?} {not_used:?}"
        );
    }
    let lines = describe(&found.not_used);
    assert!(
        lines[0].contains("newest events") || lines[0].contains("0 bytes"),
        "{lines:?}"
    );

    let change = expand_inputs(&[dir.text("")], &[], Purpose::Change).unwrap();
    // By their names two of them are copies.
    assert_eq!(dir.names(&change), ["sub/outbox.db", "x.DB", "x.db3"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_and_told_outside() {
    use std::os::unix::fs::symlink;

    let (dir, other) = (Folder::new(), Folder::new());
    dir.outbox("a.db");
    other.outbox("far.db");
    symlink(dir.at("a.db"), dir.at("alias.db")).unwrap();
    symlink(dir.at("."), dir.at("loop")).unwrap();
    symlink("self", dir.at("self")).unwrap();
    symlink("nowhere", dir.at("dangling.db")).unwrap();
    symlink(other.at("far.db"), dir.at("far.db")).unwrap();
    symlink(other.at("."), dir.at("elsewhere")).unwrap();
    fs::write(dir.at("alias.db-wal"), "frames").unwrap();
    fs::hard_link(dir.at("a.db"), dir.at("hard.db")).unwrap();
    fs::write(dir.at("hard.db-wal"), "frames").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.at("pipe.db"), rustix::fs::Mode::RUSR).unwrap();
    let found = read(&[dir.text("")]);
    // By the name that the WAL lies beside.
    assert_eq!(dir.names(&found), ["hard.db"]);
    let not_used = dir.not_used(&found);
    let expected = [
        ("a.db", false),
        ("alias.db-wal", true),
        ("dangling.db", true),
        ("elsewhere", true),
        ("far.db", true),
        ("pipe.db", false),
        ("self", false),
    ];
    assert_eq!(not_used, expected.map(|(name, flag)| (name.to_owned(), flag)));
    // What is named itself is followed, and a WAL beside the link is told.
    let found = read(&[dir.text("far.db")]);
    assert_eq!(found.files, [dir.at("far.db")]);
    assert!(found.not_used.is_empty());
    fs::write(dir.at("far.db-wal"), "frames").unwrap();
    assert_eq!(
        dir.not_used(&read(&[dir.text("far.db")])),
        [("far.db-wal".to_owned(), true)]
    );
}

#[test]
fn many_files_of_one_reason_are_one_line() {
    let file = |n: usize| NotUsed {
        path: format!("f{n}"),
        why: "text".into(),
        may_be_outbox: false,
    };
    let lines = describe(&(0..9).map(file).collect::<Vec<_>>());
    assert_eq!(lines, ["9 files not used: f0, f1, f2, f3, f4 and 4 more: text"]);
    assert_eq!(describe(&[file(1), file(2)]), ["2 files not used: f1, f2: text"]);
    assert_eq!(describe(&[file(1)]), ["f1: not used: text"]);
}
