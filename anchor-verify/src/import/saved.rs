//! The JSON that clients save, and the errors in it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep errors are looked for.
const MAX_DEPTH: usize = 8;

/// So many errors are named.
const NAMED: usize = 5;

/// All JSON values of a text: one, or one after the other (NDJSON).
///
/// # Errors
/// What the text is, if it is no JSON.
pub(super) fn values(text: &str) -> Result<Vec<&RawValue>, String> {
    if text.starts_with('\u{feff}') {
        return Err(
            "it begins with a byte order mark (BOM), which JSON does not have: save it without".into(),
        );
    }
    let start: String = text.trim_start().chars().take(60).collect();
    if start.starts_with('<') {
        return Err(format!(
            "it is HTML or XML, not JSON: {start:?}. Is it the page of a proxy, or of a login?"
        ));
    }
    let mut values: Vec<&RawValue> = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        let value: &RawValue = value.map_err(|e| match values.len() {
            0 => format!("neither logs nor a JSON-RPC answer: {e}"),
            read => format!("behind {read} answers comes something that is none: {e}"),
        })?;
        values.push(value);
    }
    if values.is_empty() {
        return Err("it is empty: neither logs nor a JSON-RPC answer".into());
    }
    if let Some(other) = values.iter().find(|value| !value.get().starts_with(['[', '{'])) {
        return Err(format!(
            "neither logs nor a JSON-RPC answer: {}",
            shorten(other.get())
        ));
    }
    Ok(values)
}

/// Every answer that is an error, or is not there, with its place: nested however.
pub(super) fn errors(values: &[&RawValue]) -> Vec<String> {
    let mut errors = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let path = match values.len() {
            1 => String::new(),
            _ => format!("answer {}", index + 1),
        };
        find(value, &path, 0, &mut errors);
    }
    errors
}

/// Some errors as one sentence.
pub(super) fn name_errors(errors: &[String]) -> String {
    let named = errors.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match errors.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{named}; and {more} more"),
        _ => named,
    }
}

fn find(json: &RawValue, path: &str, depth: usize, errors: &mut Vec<String>) {
    let text = json.get();
    if depth > MAX_DEPTH {
        return;
    }
    let within = |name: &str| match path {
        "" => name.to_owned(),
        _ => format!("{path}, {name}"),
    };
    let told = |what: String| match path {
        "" => what,
        _ => format!("{path}: {what}"),
    };
    if text.starts_with('[') {
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else {
            return;
        };
        for (index, item) in items.into_iter().enumerate() {
            if item.get().starts_with(['[', '{']) {
                find(item, &within(&format!("item {}", index + 1)), depth + 1, errors);
            }
        }
        return;
    }
    if !text.starts_with('{') {
        return;
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        return errors.push(told("an object that cannot be read".into()));
    };
    // What is read as a whole has no answers in it.
    let whole = ["topics", "parentHash", "cumulativeGasUsed", "accountProof"];
    if whole.iter().any(|name| members.contains_key(*name)) {
        return;
    }
    if let Some(error) = members.get("error").filter(|error| error.get() != "null") {
        return errors.push(told(format!(
            "the node answered with an error: {}",
            shorten(error.get())
        )));
    }
    for (name, value) in members {
        let value_text = value.get();
        if value_text.starts_with(['[', '{']) {
            let inner = if name == "result" {
                path.to_owned()
            } else {
                within(&format!("{:?}", shorten(&name)))
            };
            find(value, &inner, depth + 1, errors);
        } else if name == "result" && value_text == "null" {
            errors.push(told("the node answered with null (result: null)".into()));
        } else if is_blocks(&name) {
            // By block number or range, an answer is wanted.
            errors.push(within(&format!(
                "{:?}: there is no answer, but {}",
                shorten(&name),
                shorten(value_text)
            )));
        }
    }
}

/// Whether a name is that of a block, or of a range of blocks.
fn is_blocks(name: &str) -> bool {
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let hex = text.starts_with("0x");
        !digits.is_empty()
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (hex && b.is_ascii_hexdigit()))
    };
    number(name)
        || ["-", "..", ":", "_"]
            .iter()
            .filter_map(|between| name.split_once(between))
            .any(|(from, to)| number(from) && number(to))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}
