//! Text in lines that are not too wide.

use unicode_width::UnicodeWidthStr;

/// How wide text for people is, unless a terminal is wider.
pub const WIDTH: usize = 80;

/// Prose in lines of at most `width`, broken at spaces; each line after the first is set in by two more than the first.
/// What stands between backticks stays together if a line can hold it, and a word that no line can hold has one of its
/// own.
pub(crate) fn prose(text: &str, width: usize) -> Vec<String> {
    let text = text.trim_end();
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let indent = text.len() - text.trim_start_matches(' ').len();
    let hanging = " ".repeat(indent + 2);
    let room = width.saturating_sub(indent + 2);
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for (spaces, word) in words(&text[indent..], room) {
        let gap = if empty { 0 } else { spaces };
        if !empty && line.width() + gap + word.width() > width {
            lines.push(line);
            line = hanging.clone();
        } else {
            line.extend(std::iter::repeat_n(' ', gap));
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// The words of a text, each with how many spaces are before it. What is between backticks is one word, unless it takes
/// more than `room`.
fn words(text: &str, room: usize) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches(' ');
        let spaces = rest.len() - trimmed.len();
        if trimmed.is_empty() {
            return words;
        }
        let end = word_end(trimmed, room);
        words.push((spaces, &trimmed[..end]));
        rest = &trimmed[end..];
    }
}

fn word_end(text: &str, room: usize) -> usize {
    let space = |from: usize| text[from..].find(' ').map_or(text.len(), |at| from + at);
    let end = space(0);
    let Some(open) = text[..end].find('`') else {
        return end;
    };
    let closed = text[open + 1..].find('`').map(|at| open + 1 + at + 1);
    match closed {
        Some(closed) if text[..space(closed)].width() <= room => space(closed),
        _ => end,
    }
}

/// A command in lines of at most `width`, as a shell takes it: broken where a space separates two arguments, with a
/// backslash at the end of each line but the last.
pub(crate) fn command(text: &str, width: usize) -> Vec<String> {
    let text = text.trim_end();
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let indent = text.len() - text.trim_start_matches(' ').len();
    let hanging = " ".repeat(indent + 4);
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for argument in arguments(&text[indent..]) {
        // Room for the backslash.
        if !empty && line.width() + 1 + argument.width() + 2 > width {
            lines.push(line + " \\");
            line = hanging.clone();
        } else if !empty {
            line.push(' ');
        }
        line.push_str(argument);
        empty = false;
    }
    lines.push(line);
    lines
}

/// Splits a command at spaces that are not quoted.
fn arguments(text: &str) -> Vec<&str> {
    let mut arguments = Vec::new();
    let (mut from, mut quote, mut escaped) = (0, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => {
                if at > from {
                    arguments.push(&text[from..at]);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
    if from < text.len() {
        arguments.push(&text[from..]);
    }
    arguments
}

/// A cell of a table in lines of at most `width`: broken at spaces, or behind a mark that separates, or anywhere.
pub(crate) fn cell(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let mut rest = word;
        while rest.width() > width {
            let cut = cut(rest, width);
            lines.push(rest[..cut].to_owned());
            rest = &rest[cut..];
        }
        line.push_str(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Where to cut a word that is wider than `width`: after a mark in the second half of what fits, or where that ends.
fn cut(word: &str, width: usize) -> usize {
    let mut fits = 0;
    let mut mark = None;
    for (at, c) in word.char_indices() {
        let end = at + c.len_utf8();
        if word[..end].width() > width {
            break;
        }
        fits = end;
        if matches!(c, '/' | '-' | '_' | ',' | '.' | ':' | '=') && 2 * word[..end].width() > width {
            mark = Some(end);
        }
    }
    // A character that is wider than the column stands there all the same.
    let first = word.chars().next().map_or(word.len(), char::len_utf8);
    mark.unwrap_or(fits).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_hangs_and_keeps_commands_whole() {
        let text = "  Next: look at what is left, then `tool do it` and wait for a while";
        assert_eq!(
            prose(text, 34),
            [
                "  Next: look at what is left, then",
                "    `tool do it` and wait for a",
                "    while"
            ]
        );
        assert_eq!(prose("short  text ", 80), ["short  text"]);
        // What no line can hold stands alone.
        let long = "x".repeat(50);
        assert_eq!(
            prose(&format!("a {long} b"), 20),
            ["a", &format!("  {long}"), "  b"]
        );
        let apart = prose("see `a command that is far too long for a line` now", 20);
        assert!(apart.iter().all(|line| line.len() <= 20), "{apart:?}");
        // A backtick that is not closed is a character like others.
        assert_eq!(prose("a `b c d", 5), ["a `b", "  c d"]);
    }

    #[test]
    fn double_width_characters_count_twice() {
        assert_eq!(prose("倉庫 倉庫 倉庫", 9), ["倉庫 倉庫", "  倉庫"]);
    }

    #[test]
    fn a_command_is_broken_as_a_shell_takes_it() {
        assert_eq!(command("  tool a b", 80), ["  tool a b"]);
        let lines = command("  tool --one 'a b c d' --two \"e f\" g\\ h", 24);
        assert_eq!(lines, ["  tool --one 'a b c d' \\", "      --two \"e f\" g\\ h"]);
        let joined = lines.join("\n").replace(" \\\n", " ");
        let words: Vec<&str> = joined.split_whitespace().collect();
        assert_eq!(words.join(" "), "tool --one 'a b c d' --two \"e f\" g\\ h");
    }

    #[test]
    fn a_cell_is_broken_at_spaces_or_marks_or_anywhere() {
        assert_eq!(cell("one two three", 8), ["one two", "three"]);
        assert_eq!(
            cell("/home/user/outboxes/a.db", 12),
            ["/home/user/", "outboxes/a.", "db"]
        );
        assert_eq!(cell("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(cell("倉庫倉庫", 1), ["倉", "庫", "倉", "庫"]);
        assert_eq!(cell("", 4), [""]);
    }
}
