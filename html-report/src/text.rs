//! Text of anybody's, made harmless.

use std::fmt::{self, Display};

use cli_common::escape_controls;
use maud::{Escaper, Render};

/// Longer texts are cut, and the page says so: a report has to open, whatever others wrote.
const LONGEST: usize = 4000;

/// Text of anybody's on one line: control characters and what turns the direction of text are shown as escapes, and
/// markup in it is text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(String);

impl Text {
    /// Of any value.
    #[must_use]
    pub fn of(value: impl Display) -> Self {
        Self::from(value.to_string())
    }

    /// As it is shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match text.char_indices().nth(LONGEST) {
            None => Self(escape_controls(text).into_owned()),
            Some((end, _)) => {
                let more = text[end..].chars().count();
                Self(format!(
                    "{} … ({more} more characters)",
                    escape_controls(&text[..end])
                ))
            }
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Render for Text {
    fn render_to(&self, buffer: &mut String) {
        // Writing to a string does not fail.
        let _ = fmt::Write::write_str(&mut Escaper::new(buffer), &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_do_harm_is_shown_and_not_done() {
        let text = Text::from("</style><script>alert(\"1\")</script>\n\u{202e}\u{1b}[2J");
        let html = text.render().into_string();
        assert_eq!(
            html,
            "&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;\\n\\u{202e}\\u{1b}[2J"
        );
    }

    #[test]
    fn text_without_end_is_cut() {
        let text = Text::from("é".repeat(LONGEST + 7));
        assert!(text.as_str().ends_with("é … (7 more characters)"));
        assert_eq!(Text::from("é".repeat(LONGEST)).as_str().chars().count(), LONGEST);
    }
}
