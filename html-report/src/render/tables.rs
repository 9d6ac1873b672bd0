//! Tables, and who holds what.

use cli_common::provenance::{Input, Provenance};
use maud::{Markup, html};

use super::{KEPT, beyond, tone_class};
use crate::time::grouped;
use crate::{Cell, Matrix, MatrixCell, Table, Text};

/// So many rows of a table are shown before the rest is folded away.
const ROWS: usize = 40;

/// A table that scrolls in its own box where the page is narrow.
pub(super) fn table(table: &Table, label: &Text) -> Markup {
    let (shown, rest) = table.rows.split_at(table.rows.len().min(ROWS));
    html! {
        (rows(table, shown, label))
        @if !rest.is_empty() {
            details {
                summary { (rest.len()) " more rows" }
                (rows(table, &rest[..rest.len().min(KEPT)], &Text::from(format!("{label}, the rest"))))
                (beyond(rest.len(), KEPT))
            }
        }
    }
}

fn rows(table: &Table, rows: &[Vec<Cell>], label: &Text) -> Markup {
    html! {
        div.box role="group" tabindex="0" aria-label=(label) {
            table {
                thead { tr {
                    @for column in &table.columns { th scope="col" class=(number_class(column.numeric)) { (column.name) } }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (index, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
                                @if index == 0 {
                                    th scope="row" class=(cell_class(cell, column.numeric)) { (cell.text) }
                                } @else {
                                    td class=(cell_class(cell, column.numeric)) { (cell.text) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn number_class(numeric: bool) -> &'static str {
    if numeric { "n" } else { "t" }
}

fn cell_class(cell: &Cell, numeric: bool) -> String {
    let tone = cell.tone.map_or("", tone_class);
    format!("{} {tone}", number_class(numeric)).trim_end().to_owned()
}

/// So many holders are in the picture.
const HOLDERS: usize = 60;

/// Who holds what.
pub(super) fn matrix(matrix: &Matrix, label: &Text) -> Markup {
    html! {
        div.box role="group" tabindex="0" aria-label=(label) {
            table.matrix {
                thead { tr {
                    th scope="col" { (matrix.row) }
                    @for column in &matrix.columns { th scope="col" { (column) } }
                } }
                tbody {
                    @for row in matrix.rows.iter().take(HOLDERS) {
                        tr {
                            th scope="row" {
                                (row.name)
                                @if !row.note.is_empty() { " " span.note { (row.note) } }
                            }
                            @for cell in &row.cells { (matrix_cell(cell.as_ref())) }
                        }
                    }
                }
            }
        }
        @if !matrix.left_out.is_empty() { p.more { (matrix.left_out) } }
        (beyond(matrix.rows.len(), HOLDERS))
    }
}

fn matrix_cell(cell: Option<&MatrixCell>) -> Markup {
    html! {
        @match cell {
            None => { td.h0 { span aria-hidden="true" { "·" } span.hidden { "nothing" } } }
            Some(cell) => {
                td class=(format!("h{}", 1 + (cell.part.clamp(0.0, 1.0) * 3.999) as usize)) { (cell.text) }
            }
        }
    }
}

/// The files that a report was made from.
pub(super) fn inputs(made: &Provenance) -> Markup {
    html! {
        div.box role="group" tabindex="0" aria-label="Inputs" {
            table {
                thead { tr {
                    th scope="col" { "File" }
                    th scope="col" { "Read as" }
                    th.n scope="col" { "Bytes" }
                    th scope="col" { "SHA-256" }
                } }
                tbody { @for input in made.inputs.iter().take(ROWS) { (input_row(input)) } }
            }
        }
        @if made.inputs.len() > ROWS {
            details {
                summary { (made.inputs.len() - ROWS) " more files" }
                div.box role="group" tabindex="0" aria-label="Inputs, the rest" {
                    table {
                        thead { tr {
                            th scope="col" { "File" }
                            th scope="col" { "Read as" }
                            th.n scope="col" { "Bytes" }
                            th scope="col" { "SHA-256" }
                        } }
                        tbody { @for input in made.inputs.iter().skip(ROWS).take(KEPT) { (input_row(input)) } }
                    }
                }
                (beyond(made.inputs.len(), ROWS + KEPT))
            }
        }
    }
}

fn input_row(input: &Input) -> Markup {
    let bytes = input
        .bytes
        .map_or("-".to_owned(), |bytes| grouped(&bytes.to_string()));
    html! {
        tr {
            th scope="row" { (Text::from(&input.path)) }
            td { (Text::from(&input.role)) }
            td.n { (bytes) }
            td {
                @match (&input.sha256, &input.not_hashed) {
                    (Some(hash), _) => { code.hash { (Text::from(hash)) } }
                    (None, Some(why)) => { "no hash: " (Text::from(why)) }
                    (None, None) => { "no hash" }
                }
            }
        }
    }
}
