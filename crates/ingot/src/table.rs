//! Tables in Markdown, aligned so that they can be read on a terminal as well.

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
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for every column");
        self.rows.push(cells);
    }

    /// Prints it.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |c: usize| self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (r, row) in self.rows.iter().enumerate() {
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
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn aligned_markdown() {
        let mut table = Table::new(&["what", "n"], 1);
        table.row(["a|b".into(), "7".into()]);
        table.row(["c".into(), "1234".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        let expected = "\
| what |    n |
|------|-----:|
| a\\|b |    7 |
| c    | 1234 |
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
