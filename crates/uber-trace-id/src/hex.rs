//! Hexadecimal digits, and nothing else: the standard library would accept a sign.

/// The number that 1 to 16 digits stand for.
pub(crate) fn read_u64(digits: &[u8]) -> Option<u64> {
    if !(1..=16).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

/// The number that 1 to 32 digits stand for.
pub(crate) fn read_u128(digits: &[u8]) -> Option<u128> {
    let (high, low) = digits.split_at(digits.len().saturating_sub(16));
    let high = if high.is_empty() { 0 } else { read_u64(high)? };
    Some(u128::from(high) << 64 | u128::from(read_u64(low)?))
}

/// The number that 1 or 2 digits stand for.
pub(crate) fn read_u8(digits: &[u8]) -> Option<u8> {
    u8::try_from(read_u64(digits).filter(|_| digits.len() <= 2)?).ok()
}
