//! The sequencer itself: its `/health`, which says that it runs, and its `/ready`, which asks its database.

use std::time::{Duration, Instant};

use cli_common::{Cancel, Cancelled};
use http_client::Reply;
use serde_json::Value;

use super::fetch::{Fetch, beginning, shown};
use super::line::{Line, LineId, Step};

/// The words with which services say that all is well.
const WELL: [&str; 5] = ["healthy", "ready", "ok", "up", "pass"];

/// Asks the sequencer at a URL both questions. Nobody asked: both are not checked.
///
/// # Errors
/// The user stopped it.
pub fn lines(url: Option<&str>, timeout: Duration, cancel: &Cancel) -> Result<Vec<Line>, Cancelled> {
    let questions = [
        (LineId::ServiceHealth, "/health"),
        (LineId::ServiceReady, "/ready"),
    ];
    let Some(url) = url else {
        let unasked = |(id, _)| {
            let again = Step::Again(
                "ask the sequencer".into(),
                vec!["--url".into(), "http://localhost:8080".into()],
            );
            Line::not_checked(id, "the sequencer was not asked (--url)").step(again)
        };
        return Ok(questions.map(unasked).into());
    };
    let fetch = Fetch::new(timeout, cancel);
    questions
        .into_iter()
        .map(|(id, path)| line(&fetch, id, url, path))
        .collect()
}

fn line(fetch: &Fetch<'_>, id: LineId, url: &str, path: &str) -> Result<Line, Cancelled> {
    let asked = shown(url, path);
    let begun = Instant::now();
    let line = match fetch.get(url, path)? {
        // Whether it runs is the question: no answer is one.
        Err(none) => Line::fail(id, format!("{asked}: no answer: {}", beginning(&none.what))),
        Ok(reply) => {
            let took = begun.elapsed().as_millis();
            match judge(&reply) {
                Ok(said) => return Ok(Line::pass(id, format!("{asked}: {said}, in {took} ms"))),
                Err(said) => Line::fail(id, format!("{asked}: {said}")),
            }
        }
    };
    let command = ["curl", "--silent", "--show-error", "--include", &asked];
    Ok(line.step(Step::Run(
        "see what it answers, and its log".into(),
        command.map(str::to_owned).into(),
    )))
}

/// What an answer says: that all is well, or why not.
fn judge(reply: &Reply) -> Result<String, String> {
    let status = reply.status;
    let text = String::from_utf8_lossy(&reply.body);
    if (300..400).contains(&status) {
        return Err(format!(
            "status {status}: it sends us elsewhere, and is no sequencer"
        ));
    }
    if status != 200 {
        return Err(format!("status {status}: {}", beginning(text.trim())));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else {
        return Err("status 200, but the answer is no JSON: is this the sequencer?".to_owned());
    };
    let Some(said) = body.get("status").and_then(Value::as_str) else {
        return Err("status 200, but the answer has no status: is this the sequencer?".to_owned());
    };
    if !WELL.contains(&said.to_ascii_lowercase().as_str()) {
        return Err(format!("status 200, but it calls itself {}", beginning(said)));
    }
    let connected = body.pointer("/database/connected").and_then(Value::as_bool);
    if connected == Some(false) {
        return Err(format!(
            "it calls itself {said}, and its database is not connected"
        ));
    }
    let mut what = format!("status 200, {said}");
    let more = ["service", "version"].map(|name| body.get(name).and_then(Value::as_str));
    for more in more.into_iter().flatten() {
        what.push(' ');
        what.push_str(&beginning(more));
    }
    if connected == Some(true) {
        what.push_str(", database connected");
    }
    Ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            retry_after: None,
            content_type: None,
            body: body.into(),
        }
    }

    #[test]
    fn only_a_sequencer_that_calls_itself_well_passes() {
        let real = r#"{"status":"healthy","service":"stateset-sequencer","version":"0.2.7","timestamp":"x"}"#;
        assert_eq!(
            judge(&reply(200, real)).unwrap(),
            "status 200, healthy stateset-sequencer 0.2.7"
        );
        let ready = r#"{"status":"ready","database":{"connected":true,"response_time_ms":1},"pool":null}"#;
        assert!(judge(&reply(200, ready)).unwrap().contains("database connected"));
        for (status, body) in [
            (503, "Service unavailable"),
            (302, ""),
            (200, "<html>"),
            (200, "[]"),
            (200, r#"{"status":7}"#),
            (200, r#"{"status":"degraded"}"#),
            (200, r#"{"status":"ready","database":{"connected":false}}"#),
            (204, ""),
        ] {
            assert!(judge(&reply(status, body)).is_err(), "{status} {body}");
        }
    }
}
