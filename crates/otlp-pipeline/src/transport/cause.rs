//! Turns errors and a stranger's words into causes: one line, bounded, without control characters.

use std::error::Error;

/// Longest text taken from a collector or an error, in characters.
const LONGEST: usize = 400;

/// An error with everything that it was caused by.
///
/// A cause that its effect already tells is left out, as is what the client says around every error.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        next = error.source();
        let says_nothing = text.starts_with("client error (") || text == "http2 error";
        if (says_nothing && next.is_some()) || told.ends_with(&text) {
            continue;
        }
        if !told.is_empty() {
            told.push_str(": ");
        }
        told.push_str(&text);
    }
    // Some tell what a server said, e.g. for whom its certificate is.
    printable(told.as_bytes())
}

/// The words of a collector, for a log: trimmed, bounded, invalid UTF-8 replaced, and what could forge
/// or disorder a line escaped.
pub(super) fn printable(words: &[u8]) -> String {
    // A character has at most four bytes, so what is cut here would not have been shown.
    let words = &words[..words.len().min(4 * LONGEST)];
    let words = String::from_utf8_lossy(words);
    let words = words.trim();
    let mut shown = String::with_capacity(words.len());
    for (i, c) in words.chars().enumerate() {
        if i == LONGEST {
            shown.push('…');
            break;
        }
        if disorders(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, separators of lines, and marks that change the direction of text.
fn disorders(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_collector_cannot_forge_a_line() {
        let words = "no\r\n2026-01-01 all is well \u{1b}[2J\u{202e}\u{2028}x\0".as_bytes();
        assert_eq!(
            printable(words),
            r"no\r\n2026-01-01 all is well \u{1b}[2J\u{202e}\u{2028}x\u{0}"
        );
        assert_eq!(printable(b" \xff\xfe! \n"), "\u{fffd}\u{fffd}!");
        assert_eq!(printable("größe".as_bytes()), "größe");
    }

    #[test]
    fn words_of_a_collector_are_bounded() {
        let long = "ü".repeat(10_000);
        let shown = printable(long.as_bytes());
        assert_eq!(shown.chars().count(), LONGEST + 1);
        assert!(shown.ends_with("ü…"), "{shown}");
        let exact = "x".repeat(LONGEST);
        assert_eq!(printable(exact.as_bytes()), exact);
    }

    #[test]
    fn a_chain_tells_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Link(&'static str, #[source] Option<Box<Link>>);
        let root = Link("connection refused", None);
        let middle = Link("tcp: connection refused", Some(Box::new(root)));
        let outer = Link("client error (Connect)", Some(Box::new(middle)));
        assert_eq!(chain(&outer), "tcp: connection refused");
        assert_eq!(
            chain(&Link("client error (Connect)", None)),
            "client error (Connect)"
        );
    }
}
