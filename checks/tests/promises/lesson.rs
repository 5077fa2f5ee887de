//! The lesson is what `diff` shows between a service and its twin, and it is a short one.

use std::process::Command;

use expect_test::expect_file;

use crate::repository;

fn diff(blind: &str, traced: &str) -> String {
    let mut diff = Command::new("diff");
    let output = diff
        .args(["-r", blind, traced])
        .current_dir(repository::root())
        .output();
    let output = output.expect("running `diff`");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn uservice3_is_uservice1_and_instrumentation() {
    let lesson = diff("uservice1", "uservice3");
    expect_file!["../../golden/uservice1-3.diff"].assert_eq(&lesson);
    assert!(new_lines(&lesson) <= 75, "{} lines", new_lines(&lesson));
}

#[test]
fn uservice4_is_uservice2_and_instrumentation() {
    let lesson = diff("uservice2", "uservice4");
    expect_file!["../../golden/uservice2-4.diff"].assert_eq(&lesson);
    assert!(new_lines(&lesson) <= 75, "{} lines", new_lines(&lesson));
}

fn new_lines(diff: &str) -> usize {
    diff.lines().filter(|line| line.starts_with('>')).count()
}

#[test]
fn both_traced_services_set_telemetry_up_alike() {
    let [three, four] = ["uservice3", "uservice4"]
        .map(|service| repository::read(&format!("{service}/src/telemetry.rs")));
    assert_eq!(three, four);
}

#[test]
fn all_services_answer_with_the_same_page() {
    let page = repository::read("uservice1/hello-world.html");
    for service in ["uservice2", "uservice3", "uservice4"] {
        assert_eq!(
            page,
            repository::read(&format!("{service}/hello-world.html")),
            "{service}"
        );
    }
}
