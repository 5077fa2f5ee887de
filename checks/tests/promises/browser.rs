//! The pages in a real browser. `checks/browser` holds the visit.

use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::http::visit;
use crate::lab::{LAB, Lab, PATIENCE, Process};
use crate::{need, repository};

/// Several browsers beside the other tests are slow; each step in them has a limit of its own.
const BROWSER_PATIENCE: Duration = PATIENCE.saturating_mul(5);

#[tokio::test]
async fn a_visitor_finds_the_trace_that_the_page_names() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let lab = Lab::start(&[]).await;
    let addresses = lab.addresses_file().into_os_string();
    let [chromium, screenshots] = browser.arguments();
    browser
        .run("visit.mjs", [addresses, chromium, screenshots])
        .await;
}

#[tokio::test]
async fn the_list_of_traces_is_live_until_it_is_paused_and_is_narrowed_down() {
    use_page("list").await;
}

#[tokio::test]
async fn traces_are_searched_for_with_pickers_and_in_traceql() {
    use_page("search").await;
}

#[tokio::test]
async fn a_query_is_typed_with_completions_and_errors_have_their_place() {
    use_page("box").await;
}

#[tokio::test]
async fn what_metrics_queries_make_is_drawn() {
    use_page("metrics").await;
}

#[tokio::test]
async fn services_show_what_hurts_and_lead_to_its_traces() {
    use_page("services").await;
}

#[tokio::test]
async fn logs_are_live_and_stand_beside_their_spans() {
    use_page("logs").await;
}

#[tokio::test]
async fn four_clicks_lead_from_a_chart_to_the_log_of_the_slow_span_of_the_playground() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let lab = Lab::start(&[]).await;
    visit(&lab.url("edge"), "uservice1.localhost").await;
    visit(&lab.url("edge"), "uservice3.localhost").await;
    let mut command = Command::new(LAB);
    command
        .args([
            "playground",
            "--seed",
            "42",
            "--requests",
            "96",
            "--rate",
            "4",
        ])
        .args(["--listen", "127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", lab.url("otlp"));
    let mut playground = Process::start(&mut command);
    let ended = playground.ended().await;
    let said = playground.log();
    assert!(ended.success(), "{said}");
    let slow = said.lines().filter_map(|line| {
        let (_, trace) = line.trim().strip_prefix("http://")?.split_once("/trace/")?;
        trace.contains(" slow").then_some(&trace[..32])
    });
    let slow: Vec<_> = slow.collect();
    assert!(!slow.is_empty(), "{said}");

    let [chromium, screenshots] = browser.arguments();
    let addresses = [lab.url("tracestore"), lab.url("otlp_http")].join(",");
    let mut command = browser.command("page.mjs");
    command.env("SLOW", slow.join(","));
    command.args(["four".into(), chromium, screenshots, addresses.into()]);
    run(command).await;
}

#[tokio::test]
async fn a_trace_is_read_with_mouse_and_keyboard() {
    use_page("trace").await;
}

#[tokio::test]
async fn a_trace_of_50_000_spans_stays_usable() {
    use_page("large").await;
}

#[tokio::test]
async fn a_trace_goes_to_another_store_as_a_file() {
    use_page("files").await;
}

#[tokio::test]
async fn the_settings_to_copy_are_those_of_this_server() {
    use_page("setup").await;
}

#[tokio::test]
async fn what_is_kept_and_what_was_evicted_is_told() {
    let little = [("MAX_MEMORY", "1MiB"), ("MAX_LOG_MEMORY", "1MiB")];
    use_page_of("kept", &little).await;
}

/// Tries a module of `checks/browser` on two empty stores.
async fn use_page(what: &str) {
    use_page_of(what, &[]).await;
}

/// The same on stores with these variables.
async fn use_page_of(what: &str, env: &[(&str, &str)]) {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (one, other) = tokio::join!(Store::start(env), Store::start(env));
    let [chromium, screenshots] = browser.arguments();
    let what = OsString::from(what);
    browser
        .run(
            "page.mjs",
            [
                what,
                chromium,
                screenshots,
                one.addresses.clone(),
                other.addresses.clone(),
            ],
        )
        .await;
}

/// Node.js with Chromium and what drives it.
struct Browser {
    node: OsString,
    chromium: OsString,
}

impl Browser {
    /// `None` after saying what is missing.
    fn find() -> Option<Browser> {
        let chromium = need::program("chromium", "Debian's package `chromium`")?;
        let node = need::program("node", "Debian's package `nodejs`, or https://nodejs.org")?;
        if !repository::root()
            .join("checks/browser/node_modules")
            .exists()
        {
            need::skip("playwright-core is missing: `npm ci --prefix checks/browser`");
            return None;
        }
        Some(Browser {
            node: node.into(),
            chromium: chromium.into(),
        })
    }

    /// The browser, and a folder for screenshots.
    fn arguments(&self) -> [OsString; 2] {
        let screenshots = repository::root().join("target/screenshots");
        fs::create_dir_all(&screenshots).unwrap();
        [self.chromium.clone(), screenshots.into()]
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(repository::root().join("checks/browser").join(script));
        command
    }

    async fn run(&self, script: &str, arguments: impl IntoIterator<Item = OsString>) {
        let mut command = self.command(script);
        command.args(arguments);
        run(command).await;
    }
}

async fn run(mut command: Command) {
    let mut process = Process::start(&mut command);
    let status = process.ended_within(BROWSER_PATIENCE).await;
    assert!(status.success(), "{}", process.log());
}

/// A trace store of a test's own.
struct Store {
    _process: Process,
    /// Of the page and of the OTLP/HTTP receiver, with a comma between them.
    addresses: OsString,
}

impl Store {
    async fn start(env: &[(&str, &str)]) -> Store {
        let mut command = Command::new(LAB);
        command.arg("tracestore").envs([
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("OTLP_GRPC_ADDR", "127.0.0.1:0"),
            ("MEMORY", "true"),
        ]);
        command.envs(env.iter().copied());
        let process = Process::start(&mut command);
        let address = |line: String| format!("http://{}", line.rsplit(' ').next().unwrap());
        let page = address(process.says("listening on ").await);
        let otlp = address(process.says("receiving OTLP/HTTP on ").await);
        Store {
            _process: process,
            addresses: format!("{page},{otlp}").into(),
        }
    }
}
