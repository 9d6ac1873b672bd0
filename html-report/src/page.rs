//! What a page says: values alone.

use std::fmt::Display;

use cli_common::finding::{Code, Severity};
use cli_common::provenance::Provenance;
use cli_common::{Frame, Next, Tone};

use crate::time::grouped;
use crate::{History, Objective, Strip, Table, Text, Timeline};

/// A report as people look at it. What was not checked, the inputs and the place to sign come at its end.
#[derive(Clone, Debug)]
pub struct Page {
    /// What kind of report it is: `Audit`.
    pub title: Text,
    /// Of what: the log, without secrets.
    pub subtitle: Text,
    /// What comes out of it.
    pub verdict: Headline,
    /// What to do after it.
    pub next: Option<Next>,
    /// The numbers that matter most.
    pub facts: Vec<Fact>,
    /// What it says, in this order.
    pub sections: Vec<Section>,
    /// What was not checked, and why; `None` where the report has nothing to do with checks.
    pub not_checked: Option<Vec<String>>,
    /// Where it comes from.
    pub provenance: Option<Provenance>,
    /// Where to sign.
    pub signature: Option<Signature>,
}

/// What comes out of a report, in one sentence.
#[derive(Clone, Debug)]
pub struct Headline {
    /// What it means.
    pub tone: Tone,
    /// The sentence.
    pub sentence: Text,
}

/// A number or word that matters, and what it is.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What.
    pub name: Text,
    /// How much.
    pub value: Text,
    /// Whether it is good or bad news.
    pub tone: Option<Tone>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its heading.
    pub title: Text,
    /// What stands below the heading.
    pub intro: Text,
    /// The rest.
    pub body: Body,
}

/// What is in a section.
#[derive(Clone, Debug)]
pub enum Body {
    /// Streams, each as a map of its positions; the worst first ([`crate::worst_first`]).
    Strips(Vec<Strip>),
    /// Who holds what.
    Matrix(Matrix),
    /// What happened when.
    Timeline(Timeline),
    /// What was reached, against what was wanted.
    Objectives(Vec<Objective>),
    /// What was found; the worst first.
    Findings(Vec<FindingRow>),
    /// What was checked.
    Checks(Vec<Check>),
    /// Any table.
    Table(Table),
    /// How it went from one time to the next.
    History(History),
    /// What can be chosen, and what each choice costs.
    Choices(Vec<Choice>),
    /// Paragraphs.
    Prose(Vec<Text>),
    /// Commands to copy, each with what it is for.
    Commands(Vec<(Text, Text)>),
}

/// Who holds what: a row for each holder, a column for each thing.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// What a row is: `witness`.
    pub row: Text,
    /// What a column is: `stream`.
    pub column: Text,
    /// The columns.
    pub columns: Vec<Text>,
    /// The rows.
    pub rows: Vec<MatrixRow>,
    /// What was left out, in a sentence.
    pub left_out: Text,
}

/// A row of a matrix.
#[derive(Clone, Debug)]
pub struct MatrixRow {
    /// Who.
    pub name: Text,
    /// What else is known of it.
    pub note: Text,
    /// What it holds of each column; `None` for nothing.
    pub cells: Vec<Option<MatrixCell>>,
}

/// What somebody holds.
#[derive(Clone, Debug)]
pub struct MatrixCell {
    /// How much.
    pub text: Text,
    /// How much of all there is to hold, from 0 to 1: how dark the cell is.
    pub part: f64,
}

/// Something that was found.
#[derive(Clone, Debug)]
pub struct FindingRow {
    /// How much it weighs.
    pub severity: Severity,
    /// Its code, as docs/findings.md lists it.
    pub code: Text,
    /// What the code means.
    pub meaning: Text,
    /// Where.
    pub place: Text,
    /// What.
    pub sentence: Text,
    /// The command that acts on it.
    pub command: Option<Text>,
}

impl FindingRow {
    /// A finding by its code; `place` says where.
    #[must_use]
    pub fn new(code: Code, place: impl Into<Text>, sentence: impl Into<Text>) -> Self {
        Self {
            severity: code.severity(),
            code: code.as_str().into(),
            meaning: code.meaning().into(),
            place: place.into(),
            sentence: sentence.into(),
            command: None,
        }
    }

    /// With the command that acts on it.
    #[must_use]
    pub fn command(mut self, command: impl Into<Text>) -> Self {
        self.command = Some(command.into());
        self
    }
}

/// Something that was checked, or was not.
#[derive(Clone, Debug)]
pub struct Check {
    /// What.
    pub name: Text,
    /// What came out.
    pub outcome: CheckOutcome,
    /// What that rests on; or why it was not checked.
    pub evidence: Text,
    /// The command that acts on it, or checks again.
    pub command: Option<Text>,
}

impl Check {
    /// A check.
    #[must_use]
    pub fn new(name: impl Into<Text>, outcome: CheckOutcome, evidence: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            outcome,
            evidence: evidence.into(),
            command: None,
        }
    }

    /// With a command to run.
    #[must_use]
    pub fn command(mut self, command: impl Into<Text>) -> Self {
        self.command = Some(command.into());
        self
    }
}

/// What came out of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckOutcome {
    /// It is not so.
    Fail,
    /// It was not checked, which is no pass.
    NotChecked,
    /// It is so.
    Pass,
}

/// Something to choose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Of what: a stream.
    pub name: Text,
    /// What was chosen, in a sentence.
    pub sentence: Text,
    /// What can be chosen.
    pub options: Vec<ChoiceOption>,
}

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct ChoiceOption {
    /// The choice: `--floor claimed`.
    pub choice: Text,
    /// What comes of it.
    pub gives: Text,
    /// What it costs.
    pub cost: Text,
    /// Whether it is what was chosen.
    pub chosen: bool,
}

/// The place where people sign.
#[derive(Clone, Debug)]
pub struct Signature {
    /// What is signed.
    pub statement: Text,
    /// Who signs: `Operator`, `Reviewer`.
    pub roles: Vec<Text>,
    /// What names what is signed: the plan's id, the hash over all inputs.
    pub identifiers: Vec<(Text, Text)>,
}

impl Page {
    /// A page without sections.
    #[must_use]
    pub fn new(
        title: impl Into<Text>,
        subtitle: impl Into<Text>,
        tone: Tone,
        sentence: impl Into<Text>,
    ) -> Self {
        Self {
            title: title.into(),
            subtitle: subtitle.into(),
            verdict: Headline {
                tone,
                sentence: sentence.into(),
            },
            next: None,
            facts: Vec::new(),
            sections: Vec::new(),
            not_checked: None,
            provenance: None,
            signature: None,
        }
    }

    /// With where it comes from and what is next, as the report on stdout has it.
    #[must_use]
    pub fn framed(mut self, frame: &Frame<'_>) -> Self {
        self.next = Some(frame.next.clone());
        self.provenance = Some(frame.provenance.clone());
        self
    }

    /// Adds a number that matters.
    pub fn fact(&mut self, name: impl Into<Text>, value: impl Display) {
        self.facts.push(Fact {
            name: name.into(),
            value: readable(&value.to_string()),
            tone: None,
        });
    }

    /// Adds a number that is good or bad news.
    pub fn fact_in(&mut self, tone: Tone, name: impl Into<Text>, value: impl Display) {
        self.fact(name, value);
        if let Some(fact) = self.facts.last_mut() {
            fact.tone = Some(tone);
        }
    }

    /// Adds a section, unless there is nothing in it.
    pub fn section(&mut self, section: Section) {
        if !section.body.is_empty() {
            self.sections.push(section);
        }
    }
}

/// A number with its thousands apart, or text as it is.
fn readable(value: &str) -> Text {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        grouped(value).into()
    } else {
        value.into()
    }
}

impl Section {
    /// A section.
    #[must_use]
    pub fn new(title: impl Into<Text>, body: Body) -> Self {
        Self {
            title: title.into(),
            intro: Text::default(),
            body,
        }
    }

    /// With a sentence below its heading.
    #[must_use]
    pub fn intro(mut self, intro: impl Into<Text>) -> Self {
        self.intro = intro.into();
        self
    }
}

impl Body {
    fn is_empty(&self) -> bool {
        match self {
            Self::Strips(all) => all.is_empty(),
            Self::Matrix(matrix) => matrix.rows.is_empty() || matrix.columns.is_empty(),
            Self::Timeline(timeline) => timeline.entries.is_empty(),
            Self::Objectives(all) => all.is_empty(),
            Self::Findings(all) => all.is_empty(),
            Self::Checks(all) => all.is_empty(),
            Self::Table(table) => table.rows.is_empty(),
            Self::History(history) => history.series.is_empty(),
            Self::Choices(all) => all.is_empty(),
            Self::Prose(all) => all.is_empty(),
            Self::Commands(all) => all.is_empty(),
        }
    }
}
