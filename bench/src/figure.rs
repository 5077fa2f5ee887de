//! Figures that were measured several times.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What several rounds say of one thing: their median, and the lowest and the highest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Figure {
    /// Zero if there are no samples.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let (Some(low), Some(high)) = (
            samples.iter().copied().reduce(f64::min),
            samples.iter().copied().reduce(f64::max),
        ) else {
            return Self::default();
        };
        Self {
            median: median(samples),
            low,
            high,
        }
    }
}

/// Shows the median with so many digits, and how far the rounds spread, e.g. `12.3 (11.9-14.0)`.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let Self { median, low, high } = self;
        write!(f, "{median:.digits$} ({low:.digits$}-{high:.digits$})")
    }
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, median};

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[9.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_figure_shows_its_spread() {
        let figure = Figure::of(&[2.0, 1.0, 30.0]);
        assert_eq!(format!("{figure:.1}"), "2.0 (1.0-30.0)");
        assert_eq!(format!("{figure:.0}"), "2 (1-30)");
    }
}
