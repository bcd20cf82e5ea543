//! The table: rows of text, aligned so that it reads well unrendered too.

use std::{fmt, time::Duration};

use crate::statistics::{Pair, milliseconds};

const HEAD: [&str; 6] = ["", "Stockade", "bare", "comparison", "target", "met"];

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    what: String,
    stockade: String,
    bare: String,
    comparison: String,
    target: String,
    met: Option<bool>,
}

impl Row {
    /// A measurement that has no counterpart or target, until it is given one.
    pub(crate) fn new(what: impl Into<String>, stockade: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            stockade: stockade.into(),
            bare: String::new(),
            comparison: String::new(),
            target: String::new(),
            met: None,
        }
    }

    /// Two times, compared by their difference.
    pub(crate) fn times(what: impl Into<String>, pair: &Pair) -> Self {
        Self::new(what, format_time(pair.stockade))
            .bare(format_time(pair.bare), format!("{:+.2} ms", pair.overhead_ms()))
    }

    /// Two times, compared by how often the one goes into the other.
    pub(crate) fn speeds(what: impl Into<String>, pair: &Pair) -> Self {
        Self::new(what, format_time(pair.stockade))
            .bare(format_time(pair.bare), format!("{:.1} times as fast", pair.rate_ratio()))
    }

    /// What was done in the times of `pair`, as two rates, compared by their ratio.
    pub(crate) fn rates(what: impl Into<String>, pair: &Pair, amount: f64, unit: &str) -> Self {
        let rate = |time: Duration| format!("{:.0} {unit}/s", amount / time.as_secs_f64());
        Self::new(what, rate(pair.stockade))
            .bare(rate(pair.bare), format!("{:.0} %", 100.0 * pair.rate_ratio()))
    }

    /// The bare counterpart, and how the two compare.
    pub(crate) fn bare(mut self, bare: impl Into<String>, comparison: impl Into<String>) -> Self {
        self.bare = bare.into();
        self.comparison = comparison.into();
        self
    }

    /// What it was to be.
    pub(crate) fn target(mut self, target: impl Into<String>, met: bool) -> Self {
        self.target = target.into();
        self.met = Some(met);
        self
    }

    fn cells(&self) -> [&str; 6] {
        let met = self.met.map_or("", |met| if met { "yes" } else { "NO" });
        [&self.what, &self.stockade, &self.bare, &self.comparison, &self.target, met]
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = [HEAD].into_iter().chain(self.rows.iter().map(Row::cells)).collect();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        });
        for (index, cells) in lines.iter().enumerate() {
            for (cell, width) in cells.iter().zip(widths) {
                write!(formatter, "| {cell:<width$} ")?;
            }
            writeln!(formatter, "|")?;
            if index == 0 {
                let rule: String = widths.map(|width| format!("|{}", "-".repeat(width + 2))).concat();
                writeln!(formatter, "{rule}|")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn format_time(time: Duration) -> String {
    format!("{:.2} ms", milliseconds(time))
}

pub(crate) fn format_mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        let pair = Pair { stockade: Duration::from_micros(1500), bare: Duration::from_millis(1) };
        table.extend([Row::times("a block", &pair).target("≤ +0.3 ms", false), Row::new("é", "1")]);
        let expected = "\
|         | Stockade | bare    | comparison | target    | met |
|---------|----------|---------|------------|-----------|-----|
| a block | 1.50 ms  | 1.00 ms | +0.50 ms   | ≤ +0.3 ms | NO  |
| é       | 1        |         |            |           |     |
";
        assert_eq!(table.to_string(), expected);
    }
}
