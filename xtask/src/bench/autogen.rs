//! The Python package's drop-in for AutoGen's executors beside AutoGen's own. Owns what their times were to be; the times
//! are a Python program's, `python/benches/autogen.py`. Without a Python that has both packages these rows say so, and
//! are no failure.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    binding::PYTHON,
    statistics::Pair,
    table::{Row, format_time},
    workbench::{Result, Workbench},
};

/// What the program measures: by its name there, what that is, how many blocks it is, and how many times as fast as
/// AutoGen's it is to be.
const MEASUREMENTS: &[(&str, &str, usize, Option<f64>)] = &[
    ("local-sh", "`sh` block of `true`", 1, Some(1.0 / 0.8)),
    ("local-python", "`python` block of `pass`", 1, None),
    ("local-width", "16 `sh` blocks of `true` at once", 16, Some(2.0)),
    ("docker-sh", "Docker: `sh` block of `true`", 1, Some(25.0)),
    ("docker-python", "Docker: `python` block of `pass`", 1, Some(4.0)),
    ("docker-width", "Docker: 16 `sh` blocks of `true` at once", 16, Some(20.0)),
    ("docker-stop", "Docker: stop", 1, Some(50.0)),
];

pub(crate) fn beside_autogen(workbench: &Workbench) -> Result<Vec<Row>> {
    let Some(python) = env::var_os(PYTHON) else {
        let why = format!("not measured: {PYTHON} names no Python that has both packages");
        return Ok(vec![Row::new("AutoGen", why)]);
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/benches/autogen.py");
    let mut command = Command::new(python);
    command.arg(program).args((workbench.count(0, 1) == 1).then_some("--quick"));
    let measured = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !measured.status.success() {
        return Err(format!("benches/autogen.py failed ({})", measured.status).into());
    }
    String::from_utf8(measured.stdout)?.lines().map(row).collect()
}

/// From a line of the program's: a name and two times.
fn row(line: &str) -> Result<Row> {
    let fields: Vec<_> = line.split('\t').collect();
    let &[name, ours, theirs] = fields.as_slice() else {
        return Err(format!("no measurement: {line}").into());
    };
    let known = MEASUREMENTS.iter().find(|(known, ..)| *known == name);
    let &(_, what, blocks, target) = known.ok_or_else(|| format!("an unknown measurement: {name}"))?;
    let time = |field: &str| field.parse().map(Duration::from_nanos);
    let pair = Pair { stockade: time(ours)?, bare: time(theirs)? };
    let what = format!("stockade.autogen: {what}; bare: autogen-ext");
    let row = match blocks {
        1 => Row::new(what, format_time(pair.stockade)),
        _ => Row::rates(what, &pair, blocks as f64, "blocks"),
    };
    let ratio = pair.rate_ratio();
    let bare = match blocks {
        1 => format_time(pair.bare),
        _ => format!("{:.0} blocks/s", blocks as f64 / pair.bare.as_secs_f64()),
    };
    let row = row.bare(bare, format!("{ratio:.1} times as fast"));
    Ok(match target {
        Some(target) => row.target(format!("≥ {target} times"), ratio >= target),
        None => row,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_program_is_a_row_that_meets_its_target_or_not() {
        let met = row("local-width\t1000000\t2000000").unwrap();
        let what = "stockade.autogen: 16 `sh` blocks of `true` at once; bare: autogen-ext";
        let expected = Row::new(what, "16000 blocks/s").bare("8000 blocks/s", "2.0 times as fast");
        assert_eq!(met, expected.target("≥ 2 times", true));
        assert_ne!(row("docker-stop\t2\t99").unwrap(), row("docker-stop\t2\t100").unwrap());
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        for line in ["", "local-sh", "local-sh\t1\tx", "local-ruby\t1\t1"] {
            assert!(row(line).is_err(), "{line}");
        }
    }
}
