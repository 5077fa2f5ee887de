//! How Traefik lets a URL appear in a span: the path decoded, the values of the query hidden.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What stands for every value of a query, which may be a secret.
const REDACTED: &str = "REDACTED";

/// Resolves the percent-encoding of a path; what is not UTF-8 then is replaced.
pub(crate) fn decoded_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    match unescape(path, false) {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        None => path.into(),
    }
}

/// The keys of a query, sorted and each once, with hidden values: `url.Values.Encode` of Go, which also drops what
/// it cannot decode.
pub(crate) fn redacted_query(query: &str) -> String {
    let mut keys: Vec<Vec<u8>> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            unescape(value, true)?;
            unescape(key, true)
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut redacted = String::new();
    for key in keys {
        if !redacted.is_empty() {
            redacted.push('&');
        }
        for byte in key {
            match byte {
                b' ' => redacted.push('+'),
                b'-' | b'_' | b'.' | b'~' => redacted.push(byte.into()),
                _ if byte.is_ascii_alphanumeric() => redacted.push(byte.into()),
                _ => {
                    let _ = write!(redacted, "%{byte:02X}");
                }
            }
        }
        redacted.push('=');
        redacted.push_str(REDACTED);
    }
    redacted
}

/// Resolves percent-encoding and, in a query, `+` for a blank. `None` if a `%` is not followed by two digits.
fn unescape(text: &str, plus_is_blank: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus_is_blank => b' ',
            _ => byte,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_its_keys_and_hides_its_values_as_go_does() {
        let check = |query, expected| assert_eq!(redacted_query(query), expected, "{query}");
        check("", "");
        check("a=1&b=2", "a=REDACTED&b=REDACTED");
        check("b=1&a=2&b=3", "a=REDACTED&b=REDACTED");
        check("q", "q=REDACTED");
        check("%zz&q", "q=REDACTED");
        check("a=%zz&&q=;", "");
        check("a+b=1&*~=2", "%2A~=REDACTED&a+b=REDACTED");
        check("%C3%A9=1", "%C3%A9=REDACTED");
    }

    #[test]
    fn a_path_is_decoded() {
        let check = |path, expected| assert_eq!(decoded_path(path), expected, "{path}");
        check("/a", "/a");
        check("/caf%C3%A9+x", "/caf\u{e9}+x");
        check("/%zz", "/%zz");
        check("/%ff", "/\u{fffd}");
    }
}
