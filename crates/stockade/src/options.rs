//! Checks of options that executors and calls share. Each says which option it is about and what it takes.

use std::time::Duration;

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};

/// The longest timeout: what is longer is a mistake or means "never", and a clock can't count it.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) fn check_timeout(timeout: Duration) -> Result<()> {
    let invalid = |why: &str| Err(Error::InvalidOption { option: "timeout", why: why.to_owned() });
    match timeout {
        timeout if timeout < Duration::from_millis(1) => invalid("must be at least a millisecond"),
        timeout if timeout > LONGEST => invalid("must be at most ten years"),
        _ => Ok(()),
    }
}

/// Refuses what no process can be given: an empty name, `=` in a name, a NUL in either.
pub(crate) fn check_variables(variables: &[(ByteBuf, ByteBuf)]) -> Result<()> {
    for (name, value) in variables {
        let shown = String::from_utf8_lossy(name);
        let why = if name.is_empty() {
            "has a variable without a name".to_owned()
        } else if name.contains(&b'=') {
            format!("has a variable whose name has a `=` in it: {shown}")
        } else if name.contains(&0) || value.contains(&0) {
            format!("has a NUL byte in the variable {}", shown.replace('\0', "\\0"))
        } else {
            continue;
        };
        return Err(Error::InvalidOption { option: "env", why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_between_a_millisecond_and_ten_years() {
        assert!(check_timeout(Duration::ZERO).is_err());
        assert!(check_timeout(Duration::MAX).is_err());
        assert!(check_timeout(Duration::from_millis(1)).is_ok());
        assert!(check_timeout(LONGEST).is_ok());
    }

    #[test]
    fn a_variable_that_no_process_can_be_given_is_refused() {
        let check = |name: &str, value: &str| check_variables(&[(ByteBuf::from(name), ByteBuf::from(value))]);
        assert!(check("", "x").is_err());
        assert!(check("A=B", "x").is_err());
        assert!(check("A", "x\0").is_err());
        assert!(check("A", "x=y").is_ok());
    }
}
