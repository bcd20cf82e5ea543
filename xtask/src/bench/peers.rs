//! Stockade beside those who do the same. Owns the table; who they are, what is measured, the CSV and the plots are a Python
//! program's, `python/benches/peers.py`.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    binding::interpreter,
    table::Row,
    workbench::{Result, Workbench},
};

/// The folder of the CSV and the plots, from the project's.
const PLOTS: &str = "docs/benchmarks";

pub(crate) fn side_by_side(workbench: &Workbench) -> Result<Vec<Row>> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(interpreter()?);
    command.arg(project.join("python/benches/peers.py"));
    if workbench.count(0, 1) == 1 {
        command.arg("--quick");
    } else {
        command.arg("--out").arg(project.join(PLOTS));
    }
    let measured = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !measured.status.success() {
        return Err(format!("benches/peers.py failed ({})", measured.status).into());
    }
    let printed = String::from_utf8(measured.stdout)?;
    rows(&printed.lines().map(Measurement::parse).collect::<Result<Vec<_>>>()?)
}

/// A line of the program's.
#[derive(Debug, PartialEq)]
struct Measurement<'a> {
    what: &'a str,
    place: &'a str,
    peer: &'a str,
    parameter: &'a str,
    unit: &'a str,
    /// The median, the 95th and the 99th percentile.
    values: [f64; 3],
    samples: usize,
}

impl<'a> Measurement<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let fields: Vec<_> = line.split('\t').collect();
        let &[what, place, peer, parameter, unit, p50, p95, p99, samples] = fields.as_slice() else {
            return Err(format!("no measurement: {line}").into());
        };
        let values = [p50.parse()?, p95.parse()?, p99.parse()?];
        Ok(Self { what, place, peer, parameter, unit, values, samples: samples.parse()? })
    }

    fn name(&self) -> String {
        let parameter = if self.parameter.is_empty() { "" } else { ", " };
        format!("{}: {}{parameter}{}", self.place, self.what, self.parameter)
    }

    fn shown(&self) -> String {
        let [median, high, highest] = self.values;
        match self.samples {
            1 => format!("{median:.1} {}", self.unit),
            // The last says something of its own only where there are enough.
            2..50 => format!("{median:.2} / {high:.2} {}", self.unit),
            _ => format!("{median:.2} / {high:.2} / {highest:.2} {}", self.unit),
        }
    }

    /// How many times as well as this one `ours` does.
    fn ratio(&self, ours: &Self) -> f64 {
        let [ours, theirs] = [ours.values[0], self.values[0]];
        if self.unit.ends_with("/s") { ours / theirs } else { theirs / ours }
    }
}

/// A row for each of the others, beside Stockade with its defaults.
fn rows(measurements: &[Measurement<'_>]) -> Result<Vec<Row>> {
    let is_ours = |measurement: &&Measurement<'_>| measurement.peer == "Stockade";
    let ours: HashMap<_, _> = measurements.iter().filter(is_ours).map(|own| (own.name(), own)).collect();
    let row = |measurement: &Measurement<'_>| {
        let name = measurement.name();
        let own = ours.get(&name).ok_or_else(|| format!("nothing of ours beside {name}"))?;
        let comparison = format!("{:.2} times", measurement.ratio(own));
        let what = format!("{name}; bare: {}", measurement.peer);
        Ok(Row::new(what, own.shown()).bare(measurement.shown(), comparison))
    };
    measurements.iter().filter(|measurement| !is_ours(measurement)).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_stands_beside_stockade_with_what_is_better_above_one() {
        let lines = [
            "sh block\tlocal\tStockade\t\tms\t1\t2\t3\t100",
            "sh block\tlocal\tother\t\tms\t4\t5\t6\t100",
            "sh blocks at once\tlocal\tStockade\t8\tblocks/s\t1000\t1000\t1000\t1",
            "sh blocks at once\tlocal\tother\t8\tblocks/s\t500\t500\t500\t1",
        ];
        let measurements = lines.map(|line| Measurement::parse(line).unwrap());
        let expected = [
            Row::new("local: sh block; bare: other", "1.00 / 2.00 / 3.00 ms")
                .bare("4.00 / 5.00 / 6.00 ms", "4.00 times"),
            Row::new("local: sh blocks at once, 8; bare: other", "1000.0 blocks/s")
                .bare("500.0 blocks/s", "2.00 times"),
        ];
        assert_eq!(rows(&measurements).unwrap(), expected);
        assert!(rows(&measurements[1..2]).is_err());
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        for line in ["", "sh block\tlocal", "a\tb\tc\td\te\tx\t1\t1\t1"] {
            assert!(Measurement::parse(line).is_err(), "{line}");
        }
    }
}
