//! Strips as lines of text, for the terminal.

use std::collections::BTreeSet;

use crate::{MarkKind, State, Strip};

/// So many characters of a line are for the positions, at least.
const NARROWEST: usize = 24;

/// The streams as lines of text, no wider than `width`, with a line that explains the signs at the end: two lines for each
/// stream, its positions and below them who knows to where. Nothing for no stream.
///
/// With `ascii` there are no other characters. Names are cut where they would leave no room.
#[must_use]
pub fn strip_lines(strips: &[Strip], width: usize, ascii: bool) -> Vec<String> {
    if strips.is_empty() {
        return Vec::new();
    }
    let widest = |of: &dyn Fn(&Strip) -> usize| strips.iter().map(of).max().unwrap_or(0);
    let numbers = widest(&|strip| strip.window().start().to_string().len());
    let ends = widest(&|strip| strip.window().end().to_string().len());
    let beside = numbers + ends + 5;
    let names = widest(&|strip| strip.name.as_str().chars().count());
    let names = names.min(width.saturating_sub(beside + NARROWEST));
    let room = width.saturating_sub(beside + names).clamp(8, 64);
    let mut lines = Vec::new();
    let (mut states, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for strip in strips {
        let window = strip.window();
        let (lo, hi) = (*window.start(), *window.end());
        let parts = strip.parts(&window, room);
        states.extend(parts.iter().copied());
        let map: String = parts.iter().map(|state| sign(*state, ascii)).collect();
        let name: String = strip.name.as_str().chars().take(names).collect();
        lines.push(format!("{name:<names$}  {lo:>numbers$} {map} {hi}"));
        let marks = marks(strip, room, &mut kinds);
        if !marks.trim().is_empty() {
            let indent = names + 2 + numbers + 1;
            lines.push(format!("{:indent$}{marks}", "").trim_end().to_owned());
        }
    }
    lines.extend(legend(&states, &kinds, width, ascii));
    lines
}

/// What stands below the positions: the counter, the log's last event, what the anchors cover.
fn marks(strip: &Strip, room: usize, kinds: &mut BTreeSet<char>) -> String {
    let window = strip.window();
    let (lo, hi) = (*window.start(), *window.end());
    let mut line = vec![' '; room];
    let width = (hi - lo).saturating_add(1);
    let mut put = |at: u64, letter: char| {
        if !window.contains(&at) {
            return;
        }
        let place = crate::strip::scale(at - lo, width, room as u64).min(room as u64 - 1) as usize;
        kinds.insert(letter);
        // What is put later stands beside what is there.
        if let Some(free) = (place..room).chain((0..place).rev()).find(|at| line[*at] == ' ') {
            line[free] = letter;
        }
    };
    for mark in strip.marks.iter().filter(|mark| mark.kind != MarkKind::Witness) {
        put(mark.at, mark.kind.letter());
    }
    if let Some(last) = strip.anchored_ranges().last() {
        put(*last.end(), 'A');
    }
    let witness = strip.marks.iter().filter(|mark| mark.kind == MarkKind::Witness);
    if let Some(highest) = witness.map(|mark| mark.at).max() {
        put(highest, 'W');
    }
    line.into_iter().collect()
}

fn sign(state: State, ascii: bool) -> char {
    match state.letter() {
        Some(letter) => letter,
        None if ascii => '=',
        None => '━',
    }
}

/// What the signs mean, as far as they were used.
fn legend(states: &BTreeSet<State>, kinds: &BTreeSet<char>, width: usize, ascii: bool) -> Vec<String> {
    let states = states
        .iter()
        .map(|state| format!("{} {}", sign(*state, ascii), state.word()));
    let kinds = kinds.iter().map(|letter| {
        let what = match letter {
            'C' => "counter",
            'H' => "last event",
            'A' => "anchored to here",
            _ => "highest number a witness knows",
        };
        format!("{letter} {what}")
    });
    let mut lines = vec![String::new()];
    let (positions, below): (Vec<String>, Vec<String>) = (states.collect(), kinds.collect());
    let below = below.iter().enumerate().map(|(index, text)| match index {
        0 => format!("below: {text}"),
        _ => text.clone(),
    });
    for text in positions.into_iter().chain(below) {
        let line = lines.len() - 1;
        let taken = lines[line].chars().count();
        if taken > 0 && taken + 2 + text.chars().count() > width {
            lines.push(text);
        } else {
            if taken > 0 {
                lines[line].push_str("  ");
            }
            lines[line].push_str(&text);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip() -> Strip {
        let mut strip = Strip::new("0192aaaa/77c1b5d0", "0192aaaa-…", 214);
        strip.lay(164, 190, State::Proven);
        strip.lay(191, 200, State::Receipted);
        strip.lay(201, 214, State::Lost);
        strip.mark(MarkKind::Counter, 163, "counter", "");
        strip.mark(MarkKind::Head, 163, "the log's events", "");
        strip.mark(MarkKind::Witness, 214, "bravo.db", "claimed");
        strip.anchored(1, 200);
        strip
    }

    #[test]
    fn a_stream_is_two_lines_and_a_legend() {
        let lines = strip_lines(&[strip()], 80, true);
        assert_eq!(
            lines,
            [
                "0192aaaa/77c1b5d0  151 ==========PPPPPPPPPPPPPPPPPPPPPPRRRRRRRRxxxxxxxxxxxx 214",
                "                                CH                            A           W",
                "= there  P proven  R receipted  x lost  below: A anchored to here  C counter",
                "H last event  W highest number a witness knows",
            ],
            "{}",
            lines.join("\n")
        );
    }

    /// A position that has several signs has them all alike.
    #[test]
    fn few_positions_fill_their_line() {
        let mut strip = Strip::new("a", "a", 6);
        strip.lay(4, 6, State::Open);
        let line = &strip_lines(&[strip], 80, true)[0];
        let signs: String = line.chars().filter(|sign| "=?".contains(*sign)).collect();
        let (there, missing) = signs.split_at(signs.len() / 2);
        assert!(there.chars().all(|sign| sign == '='), "{line}");
        assert!(missing.chars().all(|sign| sign == '?'), "{line}");
    }

    #[test]
    fn lines_fit_whatever_the_names_and_numbers_are() {
        let mut long = Strip::new("x".repeat(200), "x", u64::MAX);
        long.lay(u64::MAX - 5, u64::MAX, State::Open);
        for width in [60, 80, 120] {
            for ascii in [true, false] {
                for line in strip_lines(&[strip(), long.clone()], width, ascii) {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert!(!ascii || line.is_ascii());
                    assert_eq!(line, line.trim_end());
                }
            }
        }
        assert!(strip_lines(&[], 80, false).is_empty());
    }
}
