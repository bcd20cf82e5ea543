//! Medians, and pairs of them that were measured by turns. Owns how a comparison is made; what is compared, and
//! which way is better, is the rows' part.

use std::time::{Duration, Instant};

use crate::workbench::Result;

/// Two medians from the same rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) stockade: Duration,
    pub(crate) bare: Duration,
}

impl Pair {
    /// Milliseconds that Stockade takes longer.
    pub(crate) fn overhead_ms(&self) -> f64 {
        milliseconds(self.stockade) - milliseconds(self.bare)
    }

    /// Stockade's rate as a part of the bare one.
    pub(crate) fn rate_ratio(&self) -> f64 {
        self.bare.as_secs_f64() / self.stockade.as_secs_f64()
    }
}

/// Has both measured by turns, `rounds` times, after one round that does not count.
pub(crate) fn by_turns(
    rounds: usize,
    stockade: impl FnMut() -> Result<Duration>,
    bare: impl FnMut() -> Result<Duration>,
) -> Result<Pair> {
    by_turns_of(1, rounds, stockade, bare)
}

/// The same with `turn` measurements of one before it is the other's turn: for what works on after it has
/// returned, as a daemon does, and would be paid for by the other.
pub(crate) fn by_turns_of(
    turn: usize,
    rounds: usize,
    mut stockade: impl FnMut() -> Result<Duration>,
    mut bare: impl FnMut() -> Result<Duration>,
) -> Result<Pair> {
    let (mut of_stockade, mut of_bare) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let with = (0..turn).map(|_| stockade()).collect::<Result<Vec<_>>>()?;
        let without = (0..turn).map(|_| bare()).collect::<Result<Vec<_>>>()?;
        if round > 0 {
            of_stockade.extend(with);
            of_bare.extend(without);
        }
    }
    Ok(Pair { stockade: median(of_stockade), bare: median(of_bare) })
}

/// The middle one, or the lower of the two in the middle; zero of none.
pub(crate) fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples.get(samples.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// How long `measured` takes, if it succeeds.
pub(crate) fn time<T>(measured: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    measured()?;
    Ok(begun.elapsed())
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(vec![ms(9), ms(1), ms(2)]), ms(2));
        assert_eq!(median(vec![ms(4), ms(3), ms(1), ms(2)]), ms(2));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }

    #[test]
    fn turns_alternate_and_the_first_round_does_not_count() {
        let (pair, order) = measured_in_turns_of(1);
        assert_eq!(pair, Pair { stockade: ms(3), bare: ms(2) });
        assert_eq!(order, "ababab");
        assert_eq!((pair.overhead_ms(), pair.rate_ratio()), (1.0, 2.0 / 3.0));
    }

    #[test]
    fn a_turn_can_be_several_measurements_long() {
        let (pair, order) = measured_in_turns_of(2);
        assert_eq!(pair, Pair { stockade: ms(3), bare: ms(2) });
        assert_eq!(order, "aabbaabbaabb");
    }

    /// Two rounds after a first one in which both are slow, and who was measured when.
    fn measured_in_turns_of(turn: usize) -> (Pair, String) {
        let order = std::cell::RefCell::new(String::new());
        let measured = |name: char, later: u64| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                let is_first_round = order.borrow().matches(name).count() <= turn;
                Ok(ms(if is_first_round { 1000 } else { later }))
            }
        };
        let pair = by_turns_of(turn, 2, measured('a', 3), measured('b', 2)).unwrap();
        (pair, order.take())
    }
}
