//! Reaching a server: URLs as libpq has them, and errors that say what to do about exactly that.

use crate::common;

use std::fs;
use std::path::Path;

use common::{Data, Ran, Server, apply, args, binary, plan, run, text};
use test_support::query;

/// Runs `gaps` on a log that is named so, with an environment.
fn gaps(db: &str, environment: &[(&str, &str)]) -> Ran {
    let mut command = binary();
    command.args(["gaps", "--db", db, "--format", "json"]);
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Lets the server's `pg_hba.conf` be these lines; the socket stays open for psql.
fn let_in(server: &Server, lines: &str) {
    let admin = format!(
        "postgres:///postgres?host={}&port={}&user=postgres",
        server.0.socket_dir().display(),
        server.0.port()
    );
    let file = query(&admin, "SHOW hba_file");
    let text = format!("local all all trust\n{lines}\n");
    let _ = query(
        &admin,
        &format!(
            "COPY (SELECT unnest(string_to_array(trim(E'{}'), E'\\n'))) TO '{file}'",
            text.trim()
        ),
    );
    let _ = query(&admin, "SELECT pg_reload_conf()");
    // The postmaster takes a moment to hear of it.
    let parsed = "SELECT count(*) FROM pg_hba_file_rules WHERE type IS NULL";
    assert_eq!(query(&admin, parsed), "0");
    std::thread::sleep(std::time::Duration::from_millis(500));
}

fn private(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_log_is_found_by_every_name_that_libpq_takes() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let _ = server.load("named", &data.dir.join("recovered.copy.sql"));
    let (port, socket) = (server.0.port(), text(server.0.socket_dir()));
    let encoded = socket.replace('/', "%2F");
    for name in [
        format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/named"),
        format!(
            "postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/named?target_session_attrs=read-write&load_balance_hosts=disable"
        ),
        format!("postgresql://postgres@{encoded}:{port}/named?target_session_attrs=prefer-standby"),
        format!(
            "postgres:///named?host={socket}&port={port}&user=postgres&keepalives=1&keepalives_idle=9&connect_timeout=5"
        ),
        format!("host={socket} port={port} dbname=named user=postgres application_name='my audit'"),
    ] {
        gaps(&name, &[]).expect(0);
    }
    let port = port.to_string();
    let by_environment = [
        ("PGHOST", socket.as_str()),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
    ];
    gaps("postgres:///named", &by_environment).expect(0);
    let services = data.path("services");
    fs::write(
        &services,
        format!("[log]\nhost={socket}\nport={port}\nuser=postgres\ndbname=named\n"),
    )
    .unwrap();
    let file = text(&services);
    gaps("postgres:///?service=log", &[("PGSERVICEFILE", &file)]).expect(0);
    gaps("service=log", &[("PGSERVICEFILE", &file)]).expect(0);
    gaps("postgres://", &[("PGSERVICEFILE", &file), ("PGSERVICE", "log")]).expect(0);
    gaps("postgres:///?service=other", &[("PGSERVICEFILE", &file)])
        .expect(16)
        .says(&["other", &file]);
    // The wrong kind of server.
    let standby = format!("postgres://postgres@127.0.0.1:{port}/named?target_session_attrs=standby");
    gaps(&standby, &[])
        .expect(8)
        .says(&["primary", "target_session_attrs=standby"]);
    let random = format!("postgres://postgres@127.0.0.1:{port}/named?load_balance_hosts=random");
    gaps(&random, &[])
        .expect(0)
        .says(&["load_balance_hosts", "not heeded"]);
}

#[test]
fn a_special_character_in_a_password_is_answered_without_it() {
    for secret in [
        "s3@cret",
        "s3/cret",
        "12/s3cret",
        "s3?cret",
        "s3:cret",
        "s3#cret",
        "s3%cret",
    ] {
        let ran = gaps(&format!("postgres://me:{secret}@127.0.0.1:1/log"), &[]);
        let ran = ran.says(&["hint", "percent-encode"]);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            !shown.contains("s3") && !shown.contains("cret"),
            "{secret}: {shown}"
        );
        assert!(ran.code == 16 || ran.code == 8, "{}", ran.code);
    }
}

#[test]
fn passwords_come_from_the_url_the_environment_and_a_file() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("guarded", &data.dir.join("recovered.copy.sql"));
    db.execute("CREATE ROLE auditor LOGIN PASSWORD 'p@ss w/rd' IN ROLE pg_read_all_data");
    let_in(
        &server,
        "host all postgres all trust\nhost all all all scram-sha-256",
    );
    let at = format!("127.0.0.1:{}/guarded", server.0.port());
    gaps(&format!("postgres://auditor:p%40ss%20w%2Frd@{at}"), &[]).expect(0);
    let open = format!("postgres://auditor@{at}");
    gaps(&open, &[("PGPASSWORD", "p@ss w/rd")]).expect(0);
    let passfile = data.path("pgpass");
    private(
        &passfile,
        &format!("127.0.0.1:{}:guarded:auditor:p@ss w/rd\n", server.0.port()),
    );
    gaps(&open, &[("PGPASSFILE", &text(&passfile))]).expect(0);
    fs::copy(&passfile, data.path(".pgpass")).unwrap();
    gaps(&open, &[("HOME", data.out.path().to_str().unwrap())]).expect(0);

    let wrong = gaps(&format!("postgres://auditor:s3cret@{at}"), &[])
        .expect(8)
        .says(&["auditor", "127.0.0.1", "password", "the URL"]);
    assert!(
        !wrong.stderr.contains("s3cret") && !wrong.stderr.contains("at line"),
        "{}",
        wrong.stderr
    );
    gaps(&open, &[("PGPASSWORD", "s3cret")])
        .expect(8)
        .says(&["PGPASSWORD"]);
    gaps(&open, &[])
        .expect(8)
        .says(&["no password was given", ".pgpass"]);
}

#[test]
fn what_keeps_us_out_is_said_with_what_to_do() {
    let Some(mut server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("closed", &data.dir.join("recovered.copy.sql"));
    let at = |user: &str, server: &Server| format!("postgres://{user}@127.0.0.1:{}/closed", server.0.port());
    gaps(&server.0.database_url("nowhere"), &[])
        .expect(8)
        .says(&["nowhere", "psql -l"]);
    gaps(&at("stranger", &server), &[])
        .expect(8)
        .says(&["stranger", "does not exist"]);
    gaps("postgres://me@127.0.0.1:1/log", &[])
        .expect(8)
        .says(&["127.0.0.1:1", "is the server up"]);
    gaps("postgres://me@%2Fnowhere/log", &[])
        .expect(8)
        .says(&["/nowhere", "unix_socket_directories"]);
    gaps("postgres://me@host.invalid/log", &[])
        .expect(8)
        .says(&["host.invalid", "name of the host"]);

    db.execute(
        "CREATE ROLE unfit NOLOGIN; CREATE ROLE lonely LOGIN CONNECTION LIMIT 0; CREATE ROLE poor LOGIN",
    );
    gaps(&at("unfit", &server), &[])
        .expect(8)
        .says(&["ALTER ROLE unfit LOGIN"]);
    gaps(&at("lonely", &server), &[])
        .expect(8)
        .says(&["too many connections", "close other sessions"]);
    gaps(&at("poor", &server), &[])
        .expect(8)
        .says(&["GRANT SELECT ON", "TO poor"]);
    db.execute("REVOKE CONNECT ON DATABASE closed FROM public");
    gaps(&at("poor", &server), &[])
        .expect(8)
        .says(&["GRANT CONNECT ON DATABASE closed TO poor"]);

    let_in(&server, "hostssl all all all trust");
    gaps(&at("poor", &server), &[])
        .expect(8)
        .says(&["pg_hba.conf", "sslmode=require"]);
    gaps(&format!("{}?sslmode=require", at("poor", &server)), &[])
        .expect(8)
        .says(&["TLS", "sslmode"]);
    let url = at("poor", &server);
    server.0.stop();
    gaps(&url, &[]).expect(8).says(&["is the server up"]);
}

#[test]
fn an_error_of_a_repair_says_what_the_role_lacks() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("rights", &data.dir.join("recovered.copy.sql"));
    let path = data.path("rights.plan");
    plan(&db, &path, &data.witnesses()).expect(4);
    db.execute(
        "CREATE ROLE mender LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mender;
         GRANT CREATE ON DATABASE rights TO mender; REVOKE INSERT ON ves_events FROM mender",
    );
    let url = db.arg().replace("postgres@", "mender@");
    let before = db.dump();
    let arguments = args(["apply", &text(&path), "--db", &url], &[]);
    run(&arguments)
        .expect(8)
        .says(&["GRANT INSERT ON public.ves_events TO mender"]);
    common::assert_same(&before, &db.dump());
    db.execute("GRANT INSERT ON ves_events TO mender; REVOKE TEMPORARY ON DATABASE rights FROM public");
    run(&arguments)
        .expect(8)
        .says(&["GRANT TEMPORARY ON DATABASE rights TO mender"]);
    db.execute("GRANT TEMPORARY ON DATABASE rights TO mender");
    let ran = run(&arguments);
    assert!(!ran.stderr.contains("at line"), "{}", ran.stderr);
    ran.expect(5);
    apply(&db, &path, &[]).expect(4);
}

#[test]
fn a_server_that_does_not_answer_is_told_and_can_be_left() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("silent", &data.dir.join("recovered.copy.sql"));
    let postmaster = query(&db.arg(), "SELECT pg_read_file('postmaster.pid')");
    let postmaster = postmaster.lines().next().unwrap().to_owned();
    let signal = |name: &str, pid: &str| {
        assert!(
            std::process::Command::new("kill")
                .args([name, pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP", &postmaster);
    let limited = gaps(&format!("{}?connect_timeout=3", db.arg()), &[]);
    let mut command = binary();
    command
        .args(["gaps", "--db", &db.arg()])
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    signal("-INT", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    signal("-CONT", &postmaster);
    limited.expect(8).says(&[
        "waiting",
        "to let us in",
        "no answer within 3 s",
        "connect_timeout",
    ]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(32), "{stderr}");
    assert!(stderr.contains("cancelled"), "{stderr}");
    gaps(&db.arg(), &[]).expect(0);
}

#[test]
fn a_full_disk_is_named() {
    let data = Data::scenario();
    // Files of this process may have so many blocks of 512 bytes: the disk is full for it alone.
    let limited = |blocks: u32, args: &str| {
        let binary = env!("CARGO_BIN_EXE_sequencer-recovery");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; {binary} {args}");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let Some(server) = Server::start() else { return };
    let db = server.load("crowded", &data.dir.join("recovered.copy.sql"));
    let folder = text(data.out.path());
    let (code, stderr) = limited(8, &format!("export --db {} --out {folder}/x.ndjson", db.arg()));
    assert_eq!(code, Some(8), "{stderr}");
    assert!(
        stderr.contains("x.ndjson") && stderr.contains(&folder) && stderr.contains("free space"),
        "{stderr}"
    );
    let (code, stderr) = limited(8, &format!("snapshot --db {} --out {folder}/x.db", db.arg()));
    assert_eq!(code, Some(8), "{stderr}");
    assert!(
        stderr.contains("writing the snapshot") && stderr.contains("TMPDIR"),
        "{stderr}"
    );
}
