//! Decompression, within the limit of a message.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{
    build::Refused,
    receiver::{MAX_MESSAGE_BYTES, NotKept},
};

/// Stops at the first byte over the limit.
///
/// # Errors
/// Bytes that are not gzip to the end, and those that would be more than 16 MiB.
pub(super) fn inflate(body: &[u8]) -> Result<Vec<u8>, NotKept> {
    let mut inflated = Vec::new();
    let limit = MAX_MESSAGE_BYTES as u64 + 1;
    MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|error| Refused::Malformed(format!("not gzip: {error}")))?;
    if inflated.len() > MAX_MESSAGE_BYTES {
        return Err(NotKept::TooLong);
    }
    Ok(inflated)
}
