//! Decompression, within the limit of a message.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{build::Refused, receiver::NotKept};

/// Stops at the first byte over the limit.
///
/// # Errors
/// Bytes that are not gzip to the end, and those that would be more than `max`.
pub(super) fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, NotKept> {
    let mut inflated = Vec::new();
    let limit = max as u64 + 1;
    MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|error| Refused::Malformed(format!("not gzip: {error}")))?;
    if inflated.len() > max {
        return Err(NotKept::TooLong(max));
    }
    Ok(inflated)
}
