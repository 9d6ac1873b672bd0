//! Alerts: what Prometheus says is firing.

use std::time::Duration;

use cli_common::{Cancel, Cancelled};
use http_client::{NoAnswer, Reply};
use serde::Deserialize;

use super::fetch::{Fetch, beginning, shown};
use super::line::{Line, LineId, Step};

const ID: LineId = LineId::AlertsQuiet;
const ALERTS: &str = "/api/v1/alerts";
const RULES: &str = "/api/v1/rules?type=alert";

/// So many alerts are named; all are counted.
const NAMED: usize = 20;

/// An alert of this severity fires all the time, to show that alerts arrive.
const HEARTBEAT: &str = "none";

#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    state: String,
    #[serde(default)]
    labels: Labels,
    #[serde(rename = "activeAt")]
    active_at: Option<String>,
}

#[derive(Default, Deserialize)]
struct Labels {
    alertname: Option<String>,
    severity: Option<String>,
    instance: Option<String>,
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<serde::de::IgnoredAny>,
}

/// Asks the Prometheus at a URL. Nobody asked: it is not checked.
///
/// # Errors
/// The user stopped it.
pub fn line(url: Option<&str>, timeout: Duration, cancel: &Cancel) -> Result<Line, Cancelled> {
    let Some(url) = url else {
        let again = vec!["--prometheus".into(), "http://localhost:9090".into()];
        return Ok(Line::not_checked(ID, "no Prometheus was asked (--prometheus)")
            .step(Step::Again("ask which alerts fire".into(), again)));
    };
    let fetch = Fetch::new(timeout, cancel);
    let answer = read::<Alerts>(fetch.get(url, ALERTS)?);
    let asked = shown(url, ALERTS);
    let alerts = match answer {
        Ok(alerts) => alerts.alerts,
        Err(why) => {
            let command = ["curl", "--silent", "--show-error", "--include", &asked];
            return Ok(Line::could_not(ID, format!("{asked}: {why}")).step(Step::Run(
                "see what answers there".into(),
                command.map(str::to_owned).into(),
            )));
        }
    };
    let rules = read::<Rules>(fetch.get(url, RULES)?);
    let rules = rules.map(|rules| rules.groups.iter().map(|group| group.rules.len()).sum());
    Ok(judge(&asked, &alerts, rules))
}

/// Reads an answer, or says why it is none.
fn read<T: for<'a> Deserialize<'a>>(answer: Result<Reply, NoAnswer>) -> Result<T, String> {
    let reply = answer.map_err(|none| format!("no answer: {}", beginning(&none.what)))?;
    let not_prometheus = "is this a Prometheus?";
    if reply.status != 200 {
        return Err(format!("status {}: {not_prometheus}", reply.status));
    }
    let answer: Answer<T> = serde_json::from_slice(&reply.body)
        .map_err(|_| format!("the answer is not what Prometheus answers: {not_prometheus}"))?;
    match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) => Ok(data),
        _ => {
            let error = answer.error.unwrap_or_default();
            Err(format!("it could not answer: {}", beginning(&error)))
        }
    }
}

fn judge(asked: &str, alerts: &[Alert], rules: Result<usize, String>) -> Line {
    let firing: Vec<&Alert> = alerts
        .iter()
        .filter(|a| a.state == "firing" && a.labels.severity.as_deref() != Some(HEARTBEAT))
        .collect();
    let pending = alerts.iter().filter(|a| a.state == "pending").count();
    let heartbeats = alerts
        .iter()
        .filter(|a| a.labels.severity.as_deref() == Some(HEARTBEAT));
    let mut what = format!("{asked}: {} firing, {pending} pending", firing.len());
    if let heartbeats @ 1.. = heartbeats.count() {
        what.push_str(&format!(
            " ({heartbeats} of severity none, which only show that alerts arrive)"
        ));
    }
    if let Ok(rules) = &rules {
        what.push_str(&format!("; {rules} alerting rule(s)"));
    }
    if !firing.is_empty() {
        let mut line = Line::fail(ID, what);
        for alert in firing.iter().take(NAMED) {
            line = line.seen(name(alert));
        }
        if let Some(more @ 1..) = firing.len().checked_sub(NAMED) {
            line = line.seen(format!("and {more} more"));
        }
        return line.step(Step::Say(
            "see to each alert, or silence those that are known, and run the checklist again".into(),
        ));
    }
    match rules {
        Ok(0) => Line::not_checked(ID, "Prometheus has no alerting rule: nothing could fire").seen(what),
        Ok(_) => Line::pass(ID, what),
        Err(why) => Line::pass(ID, what).seen(format!("whether it has alerting rules is not known: {why}")),
    }
}

fn name(alert: &Alert) -> String {
    let labels = &alert.labels;
    let part = |text: &Option<String>| text.as_deref().map(beginning);
    let mut what = part(&labels.alertname).unwrap_or_else(|| "an alert without a name".into());
    for (before, part) in [
        (", severity ", part(&labels.severity)),
        (", at ", part(&labels.instance)),
        (", since ", part(&alert.active_at)),
    ] {
        if let Some(part) = part {
            what.push_str(before);
            what.push_str(&part);
        }
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::line::LineVerdict;

    fn alerts(text: &str) -> Vec<Alert> {
        let body = format!(r#"{{"status":"success","data":{{"alerts":{text}}}}}"#);
        let reply = Reply {
            status: 200,
            retry_after: None,
            content_type: None,
            body: body.into(),
        };
        read::<Alerts>(Ok(reply)).unwrap().alerts
    }

    #[test]
    fn what_fires_is_named_and_the_heartbeat_is_not_counted() {
        let some = alerts(
            r#"[{"labels":{"alertname":"Down","severity":"page"},"state":"firing","activeAt":"2026-01-01T00:00:00Z"},
                {"labels":{"alertname":"Watchdog","severity":"none"},"state":"firing"},
                {"labels":{"alertname":"Slow"},"state":"pending"}]"#,
        );
        let line = judge("p", &some, Ok(3));
        assert_eq!(line.verdict, LineVerdict::Fail);
        assert_eq!(
            line.evidence[1],
            "Down, severity page, since 2026-01-01T00:00:00Z"
        );
        assert!(line.evidence[0].contains("1 firing, 1 pending"), "{line:?}");
        assert_eq!(judge("p", &some[1..], Ok(3)).verdict, LineVerdict::Pass);
        assert_eq!(judge("p", &[], Ok(0)).verdict, LineVerdict::NotChecked);
        assert_eq!(judge("p", &[], Err("x".into())).verdict, LineVerdict::Pass);
    }
}
