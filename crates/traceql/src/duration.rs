//! Durations as Go and Prometheus write them.

use std::fmt::{self, Write};

const SECOND: u64 = 1_000_000_000;

/// Reads e.g. `1h30m`, `1.5s` or `2w`; `None` if it is no duration or longer than 2^63 ns.
///
/// Prometheus's form is whole numbers of falling units from years to milliseconds; Go's has fractions and any order, but
/// no unit beyond the hour.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut is_prometheus = true;
    let mut is_go = true;
    let mut smallest = usize::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit())?),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        is_prometheus &= !rest[digits..].starts_with('.');
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        // Units from the largest; only the first three are not Go's, only the last two not Prometheus's.
        let (rank, nanoseconds) = match unit {
            "y" => (7, 365 * 24 * 3600 * SECOND),
            "w" => (6, 7 * 24 * 3600 * SECOND),
            "d" => (5, 24 * 3600 * SECOND),
            "h" => (4, 3600 * SECOND),
            "m" => (3, 60 * SECOND),
            "s" => (2, SECOND),
            "ms" => (1, 1_000_000),
            "us" | "µs" => (0, 1000),
            "ns" => (0, 1),
            _ => return None,
        };
        is_go &= rank < 5;
        is_prometheus &= rank > 0 && rank < smallest;
        smallest = rank;
        let whole = if whole.is_empty() {
            Some(0)
        } else {
            whole.parse::<u64>().ok()
        };
        let part = whole?.checked_mul(nanoseconds)?;
        let fraction = fraction_of(fraction, nanoseconds);
        total = total.checked_add(part)?.checked_add(fraction)?;
        rest = after;
    }
    let fits = total <= 1 << 63;
    ((is_prometheus || is_go) && fits).then_some(total)
}

/// That part of a unit which the digits after its point say, rounded down.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    // A unit that takes fractions has at most 13 digits, so further ones say nothing.
    let digits = &digits[..digits.len().min(18)];
    let scale = 10_u128.pow(digits.len() as u32);
    let fraction: u128 = digits.parse().unwrap_or(0);
    (fraction * u128::from(unit) / scale) as u64
}

/// Nanoseconds in Go's form: `1h30m0s`, `1.5ms`, `0s`.
pub(crate) struct Go(pub(crate) i64);

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_char('-')?;
        }
        let total = self.0.unsigned_abs();
        match total {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{total}ns"),
            1_000..1_000_000 => return decimal(f, total, 1_000, "µs"),
            1_000_000..SECOND => return decimal(f, total, 1_000_000, "ms"),
            SECOND.. => {}
        }
        let minutes = total / (60 * SECOND);
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        decimal(f, total % (60 * SECOND), SECOND, "s")
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, total: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", total / unit)?;
    let fraction = total % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(name)
}
