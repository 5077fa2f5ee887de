//! URL-encoding, as the values of baggage have it.

use std::borrow::Cow;

use crate::hex;

/// The text of an encoded value; nothing if it is not UTF-8.
///
/// A `+` is a blank, as the clients of Jaeger for Go and Java write one; all of them encode a real `+`. What is no escape,
/// as in `100%`, stands for itself.
pub(crate) fn decode(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['%', '+']) {
        return Some(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(match first {
            b'+' => b' ',
            b'%' => match after.split_at_checked(2) {
                Some((digits, after)) if let Some(byte) = hex::read_u8(digits) => {
                    rest = after;
                    byte
                }
                _ => b'%',
            },
            byte => *byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Encodes all but the unreserved characters of RFC 3986: a value that any header can have.
pub(crate) fn encode(text: &str) -> String {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            encoded.push('%');
            encoded.extend(digits.map(char::from));
        }
    }
    encoded
}
