//! Regular expressions of Go, which the crate underneath reads differently or not at all.

use traceql::{
    Aggregator, Contrast, EvaluateError, ParseError, Pattern, PatternError, Query, Series,
};

fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let compiled = Pattern::new(pattern).unwrap();
    for text in matching {
        assert!(compiled.is_match(text), "{pattern} has to match {text:?}");
    }
    for text in other {
        assert!(
            !compiled.is_match(text),
            "{pattern} must not match {text:?}"
        );
    }
}

#[test]
fn the_whole_text_has_to_match() {
    check("a", &["a"], &["ab", "ba", "aa", ""]);
    check("a|bc", &["a", "bc"], &["ac", "abc"]);
    check(".*a.*", &["a", "xax"], &["x"]);
    check("", &[""], &["a"]);
    check("^a$", &["a"], &["a\n"]);
}

#[test]
fn a_dot_matches_line_ends() {
    check("a.b", &["a\nb", "a-b"], &["ab"]);
}

#[test]
fn classes_are_ascii() {
    check(r"\d+", &["42"], &["٤٢"]);
    check(r"\w+", &["a_1"], &["é"]);
    check(r"\S+", &["é"], &[" "]);
    check(r"[\d.]+", &["4.2"], &["a"]);
    check(r"[^\d]", &["a"], &["1"]);
    check(r"[\W]", &["-", "é"], &["a"]);
    check(r"\bé?a\b", &["a"], &["b"]);
    check(r"a\Bb", &["ab"], &["a b"]);
    check(r"(?i)straße", &["Straße", "STRAßE"], &["strase"]);
}

#[test]
fn braces_and_brackets_may_be_themselves() {
    check("/books/{id}", &["/books/{id}"], &["/books/1"]);
    check("a{2}", &["aa"], &["a{2}"]);
    check("a{2,}", &["aaa"], &["a"]);
    check("a{1,2}", &["aa"], &["aaa"]);
    check("a{,2}", &["a{,2}"], &["aa"]);
    check("{", &["{"], &[""]);
    check("}", &["}"], &[""]);
    check("[[]", &["["], &["]"]);
    check("[]]", &["]"], &["["]);
    check("[^]]", &["a"], &["]"]);
    check("[a&&b]", &["a", "&", "b"], &["c"]);
    check("[a--b]+", &["a-", "--b"], &["c"]);
    check("[[:alpha:]]+", &["ab"], &["1"]);
    check("[[:foo]", &["[", "f"], &["x"]);
}

#[test]
fn escapes_are_gos() {
    check(r"\<a\>", &["<a>"], &["a"]);
    check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]);
    check(r"\Qa.b", &["a.b"], &["axb"]);
    check(r"a\.b\/c", &["a.b/c"], &["axb/c"]);
    check(r"\x41\x{e9}", &["Aé"], &["A"]);
    check(r"\pL+", &["é"], &["1"]);
}

#[test]
fn what_is_malformed_or_large_is_refused() {
    for pattern in [
        "(", ")", "a)|(b", "[", "*", "a**b(", r"\", "(?=a)", r"(a)\1",
    ] {
        let error = Pattern::new(pattern).unwrap_err();
        assert!(
            !error.message.is_empty() && !error.message.contains('\n'),
            "{error}"
        );
    }
    assert!(Pattern::new(r"\pL{5}(?i)[a-zé]{9}").is_ok());
    let error = Pattern::new(&r"\pL".repeat(101)).unwrap_err();
    assert_eq!(error.to_string(), "it has too many classes of Unicode's");
    let error = Pattern::new(r"((\pL{100}){100}){100}").unwrap_err();
    assert_eq!(error.to_string(), "it is too large");
}

/// A server parses a query in one thread and evaluates it in others, and hands errors on.
#[test]
fn queries_and_errors_go_between_threads() {
    fn goes<T: Send + Sync + 'static>() {}
    fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    goes::<Query>();
    goes::<Series>();
    goes::<Aggregator>();
    goes::<Contrast>();
    is_error::<ParseError>();
    is_error::<PatternError>();
    is_error::<EvaluateError>();
}
