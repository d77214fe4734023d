//! Tables: in Markdown, aligned so that they can be read on a terminal as well, in
//! plain columns, and as HTML.

use crate::plot::escaped;
use crate::term::DIM;
use std::io::{self, Write};

/// A table; the first columns are text, the others numbers.
pub struct Table {
    rows: Vec<Vec<String>>,
    text_columns: usize,
}

impl Table {
    /// A table without rows. The first `text_columns` are aligned to the left.
    pub fn new(header: &[&str], text_columns: usize) -> Self {
        Self { rows: vec![header.iter().map(|cell| cell.to_string()).collect()], text_columns }
    }

    /// Adds a row of as many cells as the header has.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for every column");
        self.rows.push(cells);
    }

    /// Prints it as Markdown.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let escaped = |cell: &String| cell.replace('|', "\\|");
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(escaped).collect()).collect();
        let widths = widths(&rows, 3);
        for (r, row) in rows.iter().enumerate() {
            for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match c < self.text_columns {
                    true => write!(out, "| {cell:width$} ")?,
                    false => write!(out, "| {cell:>width$} ")?,
                }
            }
            writeln!(out, "|")?;
            if r == 0 {
                for (c, width) in widths.iter().enumerate() {
                    let colon = if c < self.text_columns { "-" } else { ":" };
                    write!(out, "|{}{colon}", "-".repeat(width + 1))?;
                }
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }

    /// Prints it in columns, for a terminal.
    pub fn print_columns(&self, out: &mut impl Write) -> io::Result<()> {
        let widths = widths(&self.rows, 0);
        for (r, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &match c < self.text_columns {
                    true => format!("{cell:width$}  "),
                    false => format!("{cell:>width$}  "),
                };
            }
            match r {
                0 => writeln!(out, "  {DIM}{}{DIM:#}", line.trim_end())?,
                _ => writeln!(out, "  {}", line.trim_end())?,
            }
        }
        Ok(())
    }

    /// As a part of a page.
    pub fn html(&self) -> String {
        let row = |(r, row): (usize, &Vec<String>)| {
            let tag = if r == 0 { "th" } else { "td" };
            let cell = |(c, cell): (usize, &String)| {
                let class = if c < self.text_columns { "" } else { " class=\"n\"" };
                format!("<{tag}{class}>{}</{tag}>", escaped(cell))
            };
            format!("<tr>{}</tr>\n", row.iter().enumerate().map(cell).collect::<String>())
        };
        format!("<table>\n{}</table>\n", self.rows.iter().enumerate().map(row).collect::<String>())
    }
}

/// Characters of the widest cell of each column, at least so many.
fn widths(rows: &[Vec<String>], least: usize) -> Vec<usize> {
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0).max(least);
    (0..rows[0].len()).map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new(&["what", "n"], 1);
        table.row(["a|b".into(), "7".into()]);
        table.row(["c".into(), "1234".into()]);
        table
    }

    #[test]
    fn aligned_markdown() {
        let mut out = Vec::new();
        table().print(&mut out).unwrap();
        let expected = "\
| what |    n |
|------|-----:|
| a\\|b |    7 |
| c    | 1234 |
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn columns_and_pages() {
        let mut out = Vec::new();
        table().print_columns(&mut anstream::StripStream::new(&mut out)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  what     n\n  a|b      7\n  c     1234\n");
        let mut hostile = Table::new(&["<b>"], 1);
        hostile.row(["a&b".into()]);
        assert_eq!(
            hostile.html(),
            "<table>\n<tr><th>&lt;b&gt;</th></tr>\n<tr><td>a&amp;b</td></tr>\n</table>\n"
        );
    }
}
