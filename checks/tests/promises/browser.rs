//! The pages in a real browser. `checks/browser` holds the visit.

use std::fs;
use std::process::Command;

use crate::lab::{Lab, Process};
use crate::{need, repository};

#[tokio::test]
async fn a_visitor_finds_the_trace_that_the_page_names() {
    let (Some(chromium), Some(node)) = (
        need::program("chromium", "Debian's package `chromium`"),
        need::program("node", "Debian's package `nodejs`, or https://nodejs.org"),
    ) else {
        return;
    };
    let browser = repository::root().join("checks/browser");
    if !browser.join("node_modules").exists() {
        return need::skip("playwright-core is missing: `npm ci --prefix checks/browser`");
    }
    let screenshots = repository::root().join("target/screenshots");
    fs::create_dir_all(&screenshots).unwrap();
    let lab = Lab::start(&[]).await;
    let mut visit = Command::new(node);
    visit
        .arg(browser.join("visit.mjs"))
        .arg(lab.addresses_file())
        .arg(chromium)
        .arg(screenshots);
    let mut visit = Process::start(&mut visit);
    assert!(visit.ended().await.success(), "{}", visit.log());
}
