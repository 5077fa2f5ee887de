//! Figures that were measured several times.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What several rounds say of one thing: their median, and how far they spread, or how far it may be off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Figure {
    /// With the lowest and the highest. Zero if there are no samples.
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

    /// With the samples between which the median of any number of them lies, with 95 % certainty: of many, of which the lowest and
    /// the highest tell nothing.
    pub(crate) fn of_median(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        // As many of them are below the median as heads in so many throws of a coin.
        let beyond = (count as f64 - 1.96 * (count as f64).sqrt()) / 2.0;
        let beyond = (beyond as usize).min(count.saturating_sub(1) / 2);
        let (Some(low), Some(high)) = (sorted.get(beyond), sorted.iter().rev().nth(beyond)) else {
            return Self::default();
        };
        Self {
            median: median(samples),
            low: *low,
            high: *high,
        }
    }
}

/// Shows the median with so many digits, and the other two, e.g. `12.3 (11.9-14.0)`.
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

    #[test]
    fn a_median_of_many_is_known_better_than_they_spread() {
        let many: Vec<_> = (0..100).map(f64::from).collect();
        let figure = Figure::of_median(&many);
        assert_eq!((figure.low, figure.median, figure.high), (40.0, 49.5, 59.0));
        let few = [3.0, 1.0, 2.0];
        assert_eq!(Figure::of_median(&few), Figure::of(&few));
        assert_eq!(Figure::of_median(&[]), Figure::default());
    }
}
