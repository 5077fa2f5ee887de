//! Prometheus accepts its configuration, and its alerts fire when they should and end when it is over.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::lab::Process;
use crate::prometheus::{PROMETHEUS, Page, Prometheus};
use crate::{need, repository};

#[tokio::test]
async fn promtool_accepts_the_configurations_and_the_rules_pass_their_tests() {
    let Some(promtool) = need::program("promtool", PROMETHEUS) else {
        return;
    };
    for args in [
        ["check", "config", "conf/prometheus/prometheus.yaml"],
        ["check", "config", "conf/embedded/prometheus.yaml"],
        ["test", "rules", "conf/prometheus/rules.test.yaml"],
    ] {
        let mut command = Command::new(&promtool);
        let mut process = Process::start(command.args(args).current_dir(repository::root()));
        let ended = process.ended().await;
        assert!(ended.success(), "{args:?}:\n{}", process.log());
    }
}

fn is_about(alerts: &[Value], label: &str, value: &str) -> bool {
    alerts.iter().any(|alert| alert[label] == value)
}

#[tokio::test]
async fn a_target_that_goes_is_reported_until_it_is_back_and_a_part_that_was_not_chosen_is_not() {
    let tempo = Page::of(String::new()).await;
    let loki = Page::of(String::new()).await;
    let addresses = BTreeMap::from([
        ("tempo:3200", tempo.address.to_string()),
        ("loki:3100", loki.address.to_string()),
    ]);
    let Some(prometheus) = Prometheus::start(&addresses, "").await else {
        return;
    };
    let is_down = |alerts: &[Value], job| is_about(alerts, "job", job);
    // Traefik is not there at all, and no more are Alloy and Jaeger, which are of profiles.
    let at_first = |alerts: &[Value]| {
        is_down(alerts, "traefik") && !is_down(alerts, "tempo") && !is_down(alerts, "loki")
    };
    let alerts = prometheus.alerts_when("TargetDown", at_first).await;
    assert!(
        !is_down(&alerts, "alloy") && !is_down(&alerts, "jaeger"),
        "{alerts:#?}"
    );
    prometheus.answered("up{job=\"loki\"} == 1").await;
    let were = [tempo.address.to_string(), loki.address.to_string()];
    drop((tempo, loki));
    let gone = |alerts: &[Value]| is_down(alerts, "tempo") && is_down(alerts, "loki");
    let alerts = prometheus.alerts_when("TargetDown", gone).await;
    assert!(
        !is_down(&alerts, "alloy") && !is_down(&alerts, "jaeger"),
        "{alerts:#?}"
    );
    let _tempo = Page::at(&were[0], String::new).await;
    let _loki = Page::at(&were[1], String::new).await;
    let back = |alerts: &[Value]| !is_down(alerts, "tempo") && !is_down(alerts, "loki");
    prometheus.alerts_when("TargetDown", back).await;
}

/// What a service of our own will export: ten requests per scrape, half of which fail slowly; or, once it is mended, a
/// thousand times as many that do not.
fn requests(mended: &AtomicBool, failed: &mut u64, answered: &mut u64) -> String {
    let mend = mended.load(Ordering::Relaxed);
    *failed += if mend { 0 } else { 5 };
    *answered += if mend { 10_000 } else { 5 };
    let name = "http_server_request_duration_seconds";
    let mut text = format!("# TYPE {name} histogram\n");
    for (status, count, fast) in [(200, *answered, *answered), (503, *failed, 0)] {
        let labels = format!("http_request_method=\"GET\",http_response_status_code=\"{status}\"");
        for (le, count) in [("0.1", fast), ("10", count), ("+Inf", count)] {
            text.push_str(&format!("{name}_bucket{{{labels},le=\"{le}\"}} {count}\n"));
        }
        text.push_str(&format!("{name}_count{{{labels}}} {count}\n"));
    }
    text
}

#[tokio::test]
async fn a_service_that_fails_and_is_slow_is_reported_until_it_is_mended() {
    let mended = Arc::new(AtomicBool::new(false));
    let (mut failed, mut answered) = (0, 0);
    let is_mended = Arc::clone(&mended);
    let page = Page::at("127.0.0.1:0", move || {
        requests(&is_mended, &mut failed, &mut answered)
    });
    let page = page.await;
    let job = format!(
        "  - job_name: bookapp\n    static_configs:\n      - targets: [\"{}\"]\n",
        page.address
    );
    let Some(prometheus) = Prometheus::start(&BTreeMap::new(), &job).await else {
        return;
    };
    for alert in ["ErrorRatio", "SlowRequests"] {
        let fires = |alerts: &[Value]| is_about(alerts, "service", "bookapp");
        let alerts = prometheus.alerts_when(alert, fires).await;
        assert!(is_about(&alerts, "seen", "itself"), "{alerts:#?}");
    }
    mended.store(true, Ordering::Relaxed);
    for alert in ["ErrorRatio", "SlowRequests"] {
        prometheus.alerts_when(alert, <[Value]>::is_empty).await;
    }
}
