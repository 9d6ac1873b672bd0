//! How a whole verification scales: what was measured, as a file of comma-separated values, and the table and plot that
//! are drawn from it and from nothing else.

use std::fmt::Write as _;

/// One verification of a big world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// How many events the world has.
    pub events: u64,
    /// Over how many streams.
    pub streams: u64,
    /// On how many threads it was verified.
    pub threads: u64,
    /// How long it took by the clock on the wall, in seconds.
    pub seconds: f64,
    /// How long it was on a processor, all threads together.
    pub cpu_seconds: f64,
    /// The most memory that the process had, in MiB.
    pub peak_mib: f64,
}

const HEADER: &str = "events,streams,threads,seconds,cpu_seconds,peak_mib";

impl Run {
    fn rate(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// One line, without the end.
    pub fn line(&self) -> String {
        format!(
            "{},{},{},{:.3},{:.3},{:.1}",
            self.events, self.streams, self.threads, self.seconds, self.cpu_seconds, self.peak_mib
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(',');
        let run = Self {
            events: fields.next()?.parse().ok()?,
            streams: fields.next()?.parse().ok()?,
            threads: fields.next()?.parse().ok()?,
            seconds: fields.next()?.parse().ok()?,
            cpu_seconds: fields.next()?.parse().ok()?,
            peak_mib: fields.next()?.parse().ok()?,
        };
        (fields.next().is_none() && run.seconds > 0.0).then_some(run)
    }
}

/// The file of some runs.
pub fn to_csv(runs: &[Run]) -> String {
    let lines = runs.iter().map(Run::line);
    let all: Vec<String> = std::iter::once(HEADER.to_owned()).chain(lines).collect();
    all.join("\n") + "\n"
}

/// Reads such a file; an error is the line that is none.
///
/// # Errors
/// A line that is not one of those.
pub fn from_csv(text: &str) -> Result<Vec<Run>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(format!("the first line is not {HEADER}"));
    }
    lines
        .map(|line| Run::parse(line).ok_or_else(|| line.to_owned()))
        .collect()
}

/// `1M` for a million, and so on.
fn short(number: u64) -> String {
    match number {
        1_000_000.. if number.is_multiple_of(1_000_000) => format!("{}M", number / 1_000_000),
        1000.. if number.is_multiple_of(1000) => format!("{}k", number / 1000),
        _ => number.to_string(),
    }
}

/// The table, as Markdown.
pub fn table(runs: &[Run]) -> String {
    let mut worlds: Vec<(u64, u64)> = runs.iter().map(|run| (run.events, run.streams)).collect();
    worlds.sort_unstable();
    worlds.dedup();
    let mut text = String::from(
        "| events | streams | one thread | two threads | processor time an event | peak memory, one and two threads |\n\
         |---|---|---|---|---|---|\n",
    );
    for (events, streams) in worlds {
        let of = |threads| {
            let wanted = (events, streams, threads);
            runs.iter()
                .find(|run| (run.events, run.streams, run.threads) == wanted)
        };
        let cell = |run: Option<&Run>| {
            run.map_or("–".into(), |run| {
                let digits = if run.seconds < 1.0 { 2 } else { 1 };
                format!("{:.digits$} s, {:.0}k/s", run.seconds, run.rate() / 1000.0)
            })
        };
        let memory = |run: Option<&Run>| run.map_or("–".into(), |run| format!("{:.0}", run.peak_mib));
        let cpu = of(2).or(of(1)).map_or("–".into(), |run| {
            format!("{:.1} µs", run.cpu_seconds * 1e6 / run.events as f64)
        });
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {cpu} | {} and {} MiB |",
            short(events),
            short(streams),
            cell(of(1)),
            cell(of(2)),
            memory(of(1)),
            memory(of(2)),
        );
    }
    text
}

/// The lines of a document that the table stands between.
const BEGIN: &str = "<!-- scripts/scaling puts its table here -->\n";
const END: &str = "<!-- scripts/scaling: the end -->\n";

/// A document with the table between its two marks; `None` if it lacks them.
pub fn with_table(document: &str, runs: &[Run]) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", table(runs)))
}

/// Width of a panel's plot, height of it, and what is around it.
const WIDTH: f64 = 210.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 58.0;
const TOP: f64 = 46.0;
const PANEL: f64 = 300.0;

/// A line of a panel: its style, and its points.
type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// A panel with a logarithmic x axis and a y axis that begins at 0.
struct Panel<'a> {
    title: &'a str,
    x_title: &'a str,
    lines: Vec<Line<'a>>,
}

impl Panel<'_> {
    fn draw(&self, at: f64, svg: &mut String) {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let (mut first, mut last, mut high) = (f64::MAX, 0_f64, 0_f64);
        for (x, y) in points() {
            (first, last, high) = (first.min(x.log10()), last.max(x.log10()), high.max(*y));
        }
        if high == 0.0 {
            return;
        }
        let step = step(high);
        let top = (high / step).ceil() * step;
        let x = |value: f64| at + LEFT + (value - first) / (last - first).max(0.1) * WIDTH;
        let y = |value: f64| TOP + HEIGHT - value / top * HEIGHT;
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text class=\"title\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at + LEFT,
            TOP - 22.0,
            self.title
        );
        let (left, right) = (at + LEFT, at + LEFT + WIDTH);
        for tick in 0..=(top / step).round() as u64 {
            // Without the digits that a multiple of a decimal step may have.
            let value = (tick as f64 * step * 1000.0).round() / 1000.0;
            let (line, label) = (y(value), y(value) + 4.0);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{left:.1}\" y1=\"{line:.1}\" x2=\"{right:.1}\" y2=\"{line:.1}\"/>\
                 <text class=\"y\" x=\"{:.1}\" y=\"{label:.1}\">{value}</text>",
                left - 7.0,
            );
        }
        for power in first.round() as i32..=last.round() as i32 {
            let label = short(10_u64.pow(power.unsigned_abs()));
            let _ = writeln!(
                svg,
                "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                x(f64::from(power)),
                TOP + HEIGHT + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at + LEFT + WIDTH / 2.0,
            TOP + HEIGHT + 38.0,
            self.x_title
        );
        for (style, points) in &self.lines {
            let mut points = points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let places: Vec<String> = points
                .iter()
                .map(|(at_x, at_y)| format!("{:.1},{:.1}", x(at_x.log10()), y(*at_y)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline class=\"{style}\" points=\"{}\"/>",
                places.join(" ")
            );
            for place in places {
                let (cx, cy) = place.split_once(',').unwrap_or_default();
                let _ = writeln!(svg, "<circle class=\"{style}\" cx=\"{cx}\" cy=\"{cy}\" r=\"3\"/>");
            }
        }
    }
}

/// A round step for an axis: about five of them up to the highest value.
fn step(high: f64) -> f64 {
    let rough = high / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

/// The plot, as SVG that can be read on light and on dark ground.
pub fn plot(runs: &[Run]) -> String {
    // The number of streams that most worlds have is the one by which events are compared.
    let usual = {
        let mut streams: Vec<u64> = runs.iter().map(|run| run.streams).collect();
        streams.sort_unstable();
        let mut groups: Vec<&[u64]> = streams.chunk_by(|a, b| a == b).collect();
        groups.sort_by_key(|group| group.len());
        groups.last().map_or(0, |group| group[0])
    };
    let size = {
        let mut of: Vec<(u64, u64)> = runs.iter().map(|run| (run.events, run.streams)).collect();
        of.sort_unstable();
        of.dedup();
        let mut groups: Vec<&[(u64, u64)]> = of.chunk_by(|a, b| a.0 == b.0).collect();
        groups.sort_by_key(|group| group.len());
        groups.last().map_or(0, |group| group[0].0)
    };
    let lines = |wanted: &dyn Fn(&Run) -> bool, x: fn(&Run) -> u64, y: fn(&Run) -> f64| {
        [("one", 1), ("two", 2)].map(|(style, threads)| {
            let chosen = runs.iter().filter(|run| run.threads == threads && wanted(run));
            (
                style,
                chosen.map(|run| (x(run) as f64, y(run))).collect::<Vec<_>>(),
            )
        })
    };
    let rate = |run: &Run| run.rate() / 1000.0;
    let of_usual = |run: &Run| run.streams == usual;
    let of_size = |run: &Run| run.events == size;
    let streams_title = format!("streams, {} events", short(size));
    let events_title = format!("events, in {usual} streams");
    let panels = [
        Panel {
            title: "thousand events a second",
            x_title: &events_title,
            lines: lines(&of_usual, |run| run.events, rate).into(),
        },
        Panel {
            title: "thousand events a second",
            x_title: &streams_title,
            lines: lines(&of_size, |run| run.streams, rate).into(),
        },
        Panel {
            title: "peak memory, MiB",
            x_title: &events_title,
            lines: lines(&of_usual, |run| run.events, |run| run.peak_mib).into(),
        },
    ];
    let (width, height) = (PANEL * 3.0, TOP + HEIGHT + 80.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>Whole verification of a log: speed and memory by events and streams, on one thread and on \
         two</title>\n<style>\ntext {{ font: 12px sans-serif; fill: #6e7681; }}\n.title {{ font-weight: bold; }}\n\
         .x {{ text-anchor: middle; }}\n.y {{ text-anchor: end; }}\n.grid {{ stroke: #808080; stroke-opacity: 0.35; }}\n\
         polyline {{ fill: none; stroke-width: 2; }}\npolyline.one {{ stroke: #d97706; }}\npolyline.two {{ stroke: #3b82f6; \
         }}\ncircle.one {{ fill: #d97706; }}\ncircle.two {{ fill: #3b82f6; }}\n@media (prefers-color-scheme: dark) {{ text \
         {{ fill: #9aa4af; }} }}\n</style>\n"
    );
    for (nth, panel) in panels.iter().enumerate() {
        panel.draw(nth as f64 * PANEL, &mut svg);
    }
    let below = height - 14.0;
    for (nth, (style, name)) in [("one", "one thread"), ("two", "two threads")]
        .into_iter()
        .enumerate()
    {
        let at = LEFT + nth as f64 * 120.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<circle class=\"{style}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/><text x=\"{:.1}\" y=\"{below:.1}\">{name}</text>",
            at,
            below - 4.0,
            at + 10.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing in the documents is made by hand.
    #[test]
    fn table_and_plot_in_the_documents_are_those_of_the_measured_runs() {
        let read = |name: &str| {
            let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
        };
        let csv = read("scaling.csv");
        let runs = from_csv(&csv).expect("runs");
        assert_eq!(to_csv(&runs), csv);
        assert!(!runs.is_empty());
        assert_eq!(
            plot(&runs),
            read("scaling.svg"),
            "draw it again: scripts/scaling --draw"
        );
        let document = read("performance.md");
        let again = with_table(&document, &runs);
        assert_eq!(again, Some(document), "draw it again: scripts/scaling --draw");
    }

    #[test]
    fn axes_have_round_steps_and_lines_that_are_no_runs_are_refused() {
        for (high, expected) in [
            (1.0, 0.2),
            (90.0, 20.0),
            (100.0, 20.0),
            (101.0, 50.0),
            (26.0, 10.0),
        ] {
            assert!((step(high) - expected).abs() < 1e-9, "{high}: {}", step(high));
        }
        assert_eq!(
            (short(10_000_000), short(10_000), short(10)),
            ("10M".into(), "10k".into(), "10".into())
        );
        for bad in [
            "",
            "1,2,3",
            "1,2,3,0.0,1.0,1.0",
            "1,2,3,1.0,1.0,1.0,1",
            "x,2,3,1.0,1.0,1.0",
        ] {
            assert!(from_csv(&format!("{HEADER}\n{bad}\n")).is_err(), "{bad}");
        }
    }
}
