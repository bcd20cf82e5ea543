//! Columns of text. Owns their alignment; colours are left to the stream that the table is written to.

use std::fmt;

use anstyle::Style;

/// Rows of cells, each with its style.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(Style, String)>>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<(Style, String)>) {
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.chars().count()).max()
        };
        (0..columns).map(|column| width(column).unwrap_or_default()).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut gap = 0;
            for ((style, text), width) in row.iter().zip(&widths) {
                if !text.is_empty() {
                    write!(formatter, "{:gap$}{style}{text}{style:#}", "")?;
                    gap = 0;
                }
                // Written only before another cell: no line ends in spaces.
                gap += width - text.chars().count() + if *width > 0 { 2 } else { 0 };
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        for row in [["a", "", "née", ""], ["bbb", "", "", ""], ["", "", "x", "z"]] {
            table.row(row.map(|text| (Style::new(), text.to_owned())).into());
        }
        assert_eq!(table.to_string(), "a    née\nbbb\n     x    z\n");
    }
}
