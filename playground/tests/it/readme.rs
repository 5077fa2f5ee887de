//! README.org shows what a run says, and what queries find after it.

use std::collections::BTreeSet;

use crate::{
    run::{Said, bare},
    store::Store,
};

/// A line without what differs from run to run: ids, times, where it was sent.
fn normalized(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let seconds = word.trim_end_matches([':', 's']);
        words.push(match word.rsplit_once('/') {
            Some((_, id)) if id.len() == 32 => "TRACE".to_owned(),
            _ if word.starts_with("http://") => "ENDPOINT".to_owned(),
            _ if word.starts_with('"') && word.len() == 10 => "RUN".to_owned(),
            _ if seconds.contains('.') && seconds.parse::<f64>().is_ok() => "TIME".to_owned(),
            _ => word.to_owned(),
        });
    }
    words.join(" ")
}

#[test]
fn a_run_and_its_queries_are_as_the_readme_has_them() {
    let readme = include_str!("../../../README.org");
    let (_, chapter) = readme.split_once("\n* Play requests").unwrap();
    let (chapter, _) = chapter.split_once("\n* ").unwrap();
    let (_, shown) = chapter.split_once("#+begin_example").unwrap();
    let (shown, rest) = shown.split_once("#+end_example").unwrap();
    let (_, command) = chapter.split_once("cargo run -p playground -- ").unwrap();
    let arguments: Vec<_> = command.lines().next().unwrap().split_whitespace().collect();

    let store = Store::start();
    let said = Said::by(&mut bare(store.endpoint(), &arguments));
    assert_eq!(said.code, Some(0), "{}", said.summary);
    let lines: BTreeSet<_> = said.summary.lines().map(normalized).collect();
    let shown: Vec<_> = shown.lines().map(normalized).collect();
    assert!(shown.len() > 10, "{shown:?}");
    for line in shown.iter().filter(|line| *line != "…" && !line.is_empty()) {
        assert!(lines.contains(line), "{line:?} is none of {lines:#?}");
    }

    let rows: Vec<_> = rest
        .lines()
        .filter(|line| line.starts_with("  | ="))
        .collect();
    assert_eq!(rows.len(), 4, "those of the guide: {rows:?}");
    for row in rows {
        let cells: Vec<_> = row
            .trim()
            .trim_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        let [written, found, meant, finds, _since] = cells[..] else {
            panic!("{row}");
        };
        for (query, expected) in [(written, found), (meant, finds)] {
            let query = query.trim_matches('=');
            let found = match store.find(query) {
                Ok(traces) => traces.len().to_string(),
                Err(mistake) if mistake.contains("invalid TraceQL") => "syntax error".to_owned(),
                Err(other) => panic!("{query}: {other}"),
            };
            assert_eq!(found, expected, "{query}");
        }
    }
}
