use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use super::{ConnectionSettings, TargetServer};

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn url(url: &str) -> ConnectionSettings {
    ConnectionSettings::of_url(url, &nothing).unwrap_or_else(|e| panic!("{url}: {e}"))
}

fn places(settings: &ConnectionSettings) -> Vec<String> {
    settings.hosts.iter().map(|host| format!("{host:?}")).collect()
}

#[test]
fn a_url_is_read_as_libpq_reads_it() {
    let all =
        url("postgresql://me:p%40ss%2F@a:1,[::1]:2,c/log?target_session_attrs=read-write&connect_timeout=7");
    assert_eq!(places(&all), ["a:1", "::1:2", "c:5432"]);
    assert_eq!(
        (all.user.as_deref(), all.database.as_deref()),
        (Some("me"), Some("log"))
    );
    assert!(
        all.hosts
            .iter()
            .all(|host| host.password.as_deref() == Some("p@ss/"))
    );
    assert_eq!(all.target, TargetServer::ReadWrite);
    assert_eq!(all.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(url("postgres://h/d?connect_timeout=0").connect_timeout, None);

    for socket in [
        "postgres://%2Frun%2Fpg/log",
        "postgres:///log?host=/run/pg",
        "postgres:///log?host=%2Frun%2Fpg",
    ] {
        assert_eq!(places(&url(socket)), ["/run/pg:5432"], "{socket}");
    }
    assert_eq!(places(&url("postgres://%2Frun%2Fpg:5433/log")), ["/run/pg:5433"]);
    let listed = url("postgres:///log?host=a,b&port=1,2&keepalives_idle=3&tcp_user_timeout=9");
    assert_eq!(places(&listed), ["a:1", "b:2"]);
    assert_eq!(places(&url("postgres:///log?host=a,b&port=7")), ["a:7", "b:7"]);
    // The database is named as the user, who is named as the system's.
    assert_eq!(url("postgres://me@h").database.as_deref(), Some("me"));
    let environment = |name: &str| (name == "USER").then(|| "os".into());
    let of_system = ConnectionSettings::of_url("postgres://h", &environment).unwrap();
    assert_eq!(of_system.database.as_deref(), Some("os"));
    // What other programs write.
    assert_eq!(
        url("postgres://h/d?ssl-mode=require").ssl_mode.as_deref(),
        Some("require")
    );
    assert_eq!(
        url("postgres://h/d?ssl=true").ssl_mode.as_deref(),
        Some("require")
    );
}

#[test]
fn options_become_settings_of_the_session() {
    let both =
        "postgres://h/d?options=-csearch_path%3Dx%5C%20y%20--work-mem%3D1MB%20-c%20a.b%3Dc&options[role]=z";
    let settings = url(both).session;
    let expected = [
        ("search_path", "x y"),
        ("work_mem", "1MB"),
        ("a.b", "c"),
        ("role", "z"),
    ];
    let shown: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(shown, expected);
    assert!(ConnectionSettings::of_url("postgres://h/d?options=-d%205", &nothing).is_err());
}

#[test]
fn an_unescaped_character_is_answered_without_the_password() {
    for secret in [
        "s3@cret",
        "s3/cret",
        "12/s3cret",
        "s3?cret",
        "s3cret%zz",
        "s3cret%",
        "s3@/?#cret",
        "s3cret%00",
    ] {
        let error =
            ConnectionSettings::of_url(&format!("postgres://me:{secret}@db/log"), &nothing).unwrap_err();
        let shown = format!("{error:?}");
        assert!(
            error.hint().unwrap().contains("percent-encode"),
            "{secret}: {shown}"
        );
        assert!(
            !shown.contains("s3") && !shown.contains("cret"),
            "{secret}: {shown}"
        );
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
    }
    // Libpq reads these as they are, others do not.
    for (secret, character) in [("s3#cret", '#'), ("s3:cret", ':')] {
        let settings = url(&format!("postgres://me:{secret}@db/log"));
        assert_eq!(settings.hosts[0].password.as_deref(), Some(secret));
        assert_eq!(settings.raw_character, Some(character));
    }
    for broken in [
        "postgres://h:port/d",
        "postgres://h:70000/d",
        "postgres://[::1/d",
        "postgres://a:1,b/d?port=1,2,3",
    ] {
        assert!(ConnectionSettings::of_url(broken, &nothing).is_err(), "{broken}");
    }
}

#[test]
fn connection_strings_are_read_too() {
    let line = r"host = 'a b' port=7 password='it\'s s3cret' user=me dbname=lo\ g";
    let all = ConnectionSettings::of_keywords(line, &nothing).unwrap();
    assert_eq!(places(&all), ["a b:7"]);
    assert_eq!(all.hosts[0].password.as_deref(), Some("it's s3cret"));
    assert_eq!(all.database.as_deref(), Some("lo g"));
    assert!(!format!("{all:?}").contains("s3cret"));
    for broken in ["host", "host=a b", "password='s3cret"] {
        let error = ConnectionSettings::of_keywords(broken, &nothing).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[test]
fn services_and_the_environment_fill_in_what_is_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    fs::write(
        &services,
        "# ours\n[other]\nhost=x\n\n[log]\nhost = db.example\nport=7\nuser=svc\npassword=s3cret\n[last]\nhost=y\n",
    )
    .unwrap();
    let environment = |name: &str| -> Option<OsString> {
        match name {
            "PGSERVICEFILE" => Some(services.clone().into()),
            "PGUSER" | "PGDATABASE" => Some("env".into()),
            "PGHOST" => Some("env.example".into()),
            _ => None,
        }
    };
    let of = |url: &str| ConnectionSettings::of_url(url, &environment).unwrap();
    let all = of("postgres:///?service=log&port=8");
    assert_eq!(places(&all), ["db.example:8"]);
    assert_eq!(
        (all.user.as_deref(), all.database.as_deref()),
        (Some("svc"), Some("env"))
    );
    assert_eq!(all.hosts[0].password_from.as_deref(), Some("the service file"));
    assert_eq!(places(&of("postgres://")), ["env.example:5432"]);
    assert_eq!(places(&of("postgres://given")), ["given:5432"]);
    assert_eq!(
        places(&ConnectionSettings::of_keywords("service=log", &environment).unwrap()),
        ["db.example:7"]
    );

    let unknown = ConnectionSettings::of_url("postgres:///?service=none", &environment).unwrap_err();
    assert!(unknown.to_string().contains("\"none\"") && unknown.hint().unwrap().contains("services"));
    fs::write(&services, "[log]\nnothing\n").unwrap();
    let broken = ConnectionSettings::of_url("postgres:///?service=log", &environment).unwrap_err();
    assert!(broken.to_string().contains("line 2"), "{broken}");
}

#[cfg(unix)]
#[test]
fn passwords_come_out_of_a_file_that_nobody_else_may_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".pgpass");
    fs::write(
        &file,
        "# all\na:1:log:me:first\\:one\n*:*:log:me:second\nlocalhost:*:*:*:socket\n",
    )
    .unwrap();
    let home = folder.path().to_owned();
    let environment = move |name: &str| (name == "HOME").then(|| home.clone().into());
    let passwords = |url: &str| -> Vec<Option<String>> {
        let all = ConnectionSettings::of_url(url, &environment).unwrap();
        all.hosts.into_iter().map(|host| host.password).collect()
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(passwords("postgres://me@a:1/log"), [None]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        passwords("postgres://me@a:1,b:2/log"),
        [some("first:one"), some("second")]
    );
    assert_eq!(passwords("postgres://you@a:1/log"), [None]);
    assert_eq!(passwords("postgres://you@%2Frun%2Fpg/x"), [some("socket")]);
    assert_eq!(passwords("postgres://me:given@a:1/log"), [some("given")]);
}
