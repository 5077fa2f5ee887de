//! Finds a place among what is in order.

use std::{convert::Infallible, ops::Range};

/// The first number for which `before` is false, or the end: it is true up to there.
pub(super) fn bisect(within: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let Ok(found) = try_bisect(within, |number| Ok::<_, Infallible>(before(number)));
    found
}

/// The same where looking may fail.
///
/// # Errors
/// The first that there is on the way.
pub(super) fn try_bisect<E>(
    within: Range<usize>,
    before: impl Fn(usize) -> Result<bool, E>,
) -> Result<usize, E> {
    let (mut low, mut high) = (within.start, within.end);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
