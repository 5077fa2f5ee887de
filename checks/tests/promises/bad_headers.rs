//! Trace headers from strangers: whatever they are, the page arrives, and its trace is a valid one.

use crate::http::{Answer, get, visit};
use crate::lab::{Lab, until};
use crate::trace::Trace;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GOOD: &str = "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7:0:1";

/// The reply to a visit of uservice3, through the edge and not, with these headers.
async fn both_ways(lab: &Lab, headers: &[(&str, &[u8])]) -> [Answer; 2] {
    let host = [("host", &b"uservice3.localhost"[..])];
    let headers = [&host, headers].concat();
    let edge = get(&lab.url("edge"), &headers).await.unwrap();
    let direct = get(&lab.url("uservice3"), &headers).await.unwrap();
    [edge, direct]
}

#[tokio::test]
async fn malformed_contexts_are_served_with_a_new_trace() {
    let lab = Lab::start_with(&[], &[("OTEL_PROPAGATORS", "jaeger,tracecontext")]).await;
    let uber = |value: &str| ("uber-trace-id", value.as_bytes().to_vec());
    let w3c = |value: String| ("traceparent", value.into_bytes());
    let span = "00f067aa0ba902b7";
    let malformed = [
        uber(":::"),
        uber(&format!("{ID}:{span}:1")),
        uber(&format!("{ID}:{span}:0:1:")),
        uber(&format!("{ID}:{span}:0:-1")),
        uber(&format!("{ID}:{span}:0:100")),
        uber(&format!("{ID}0:{span}:0:1")),
        uber(&format!("{ID}:{span}0:0:1")),
        uber("0:0:0:1"),
        uber(&format!("{ID}:0:0:1")),
        uber(&format!("0:{span}:0:1")),
        uber("+1:+1:0:1"),
        uber("wrong:ids:0:1"),
        uber(&":".repeat(10_000)),
        ("uber-trace-id", b"\xff\xfe:1:0:1".to_vec()),
        w3c(format!("00-{}-{span}-01", &ID[1..])),
        w3c(format!("00-{ID}0-{span}-01")),
        w3c(format!("00-{}-{span}-01", ID.to_uppercase())),
        w3c(format!("ff-{ID}-{span}-01")),
        w3c(format!("00-{ID}-{span}-01-extra")),
        w3c(format!("00-{}-{span}-01", "0".repeat(32))),
        w3c(format!("00-{ID}-{}-01", "0".repeat(16))),
        w3c(format!("00-+{}-{span}-01", &ID[1..])),
        w3c(format!("00-{ID}-{span}-1")),
        ("traceparent", b"00-\xff-1-01".to_vec()),
    ];
    for (name, value) in &malformed {
        for answer in both_ways(&lab, &[(*name, value)]).await {
            let said = String::from_utf8_lossy(value);
            assert_eq!(answer.status, 200, "{name}: {said}");
            let id = answer.trace_id();
            assert!(
                id != ID && id != "0".repeat(32),
                "{name}: {said} has become {id}"
            );
        }
    }
    for (name, value) in [
        ("uber-trace-id", GOOD.to_owned()),
        ("traceparent", format!("00-{ID}-{span}-01")),
    ] {
        for answer in both_ways(&lab, &[(name, value.as_bytes()), (name, value.as_bytes())]).await {
            assert_eq!(answer.status, 200, "two {name}");
            assert_ne!(answer.trace_id(), ID, "two {name}");
        }
    }
}

#[tokio::test]
async fn odd_but_valid_contexts_are_continued() {
    let lab = Lab::start(&[]).await;
    let odd = [
        GOOD.replace(':', "%3A"),
        GOOD.replace(':', "%3a"),
        GOOD.to_uppercase(),
        GOOD.replace(":0:1", ":deadbeef:1"),
        GOOD.replace(":0:1", ":0:0f"),
        GOOD.replace(":0:1", ":0:3"),
    ];
    for header in odd {
        for answer in both_ways(&lab, &[("uber-trace-id", header.as_bytes())]).await {
            assert_eq!(answer.trace_id(), ID, "{header}");
            assert!(
                answer.header("traceresponse").ends_with("-01"),
                "{header} is sampled"
            );
        }
    }
}

#[tokio::test]
async fn baggage_of_any_kind_breaks_no_trace() {
    let lab = Lab::start_with(&[], &[("OTEL_PROPAGATORS", "jaeger,baggage")]).await;
    let good = ("uber-trace-id", GOOD.as_bytes());
    let many = (0..10_000)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let long = format!("key={}", "v".repeat(9000));
    let bad: [(&str, &[u8]); 9] = [
        ("uberctx-user", b"bob"),
        ("uberctx-user", b"a=b"),
        ("uberctx-user", b"a,b"),
        ("uberctx-user", b"\xff"),
        ("baggage", &many.as_bytes()[..30_000]),
        ("baggage", long.as_bytes()),
        ("baggage", b"a=%0d%0aX: y"),
        ("baggage", b"b=%ff"),
        ("baggage", b"\xff\xff"),
    ];
    for header in bad {
        for answer in both_ways(&lab, &[good, header]).await {
            assert_eq!(answer.status, 200, "{header:?}");
            assert_eq!(answer.trace_id(), ID, "{header:?}");
        }
    }
    // What goes on to uservice4 has been encoded again.
    lab.process
        .says("uservice4  |   \"baggage\": \"a=X:%20y\"")
        .await;
}

#[tokio::test]
async fn the_later_of_two_formats_that_disagree_wins() {
    let lab = Lab::start_with(&[], &[("OTEL_PROPAGATORS", "jaeger,tracecontext")]).await;
    let later = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{later}-b7ad6b7169203331-01");
    let headers = [
        ("uber-trace-id", GOOD.as_bytes()),
        ("traceparent", traceparent.as_bytes()),
    ];
    for answer in both_ways(&lab, &headers).await {
        assert_eq!(answer.trace_id(), later);
    }
}

#[tokio::test]
async fn a_trace_state_beyond_the_limits_goes_no_further() {
    let lab = Lab::start_with(&[], &[("OTEL_PROPAGATORS", "tracecontext")]).await;
    let traceparent = format!("00-{ID}-00f067aa0ba902b7-01");
    let many = |members| {
        let members: Vec<_> = (0..members).map(|n| format!("vendor{n}=x")).collect();
        members.join(",")
    };
    let long = format!("vendor=x{}", "x".repeat(600));
    for (n, (state, kept)) in [(many(33), false), (long, false), (many(32), true)]
        .iter()
        .enumerate()
    {
        let headers = [
            ("traceparent", traceparent.as_bytes()),
            ("tracestate", state.as_bytes()),
        ];
        let answer = get(&lab.url("uservice3"), &headers).await.unwrap();
        assert_eq!(answer.trace_id(), ID, "{state}");
        let request_ends = |log: &str| log.lines().filter(|line| *line == "uservice4  | }").count();
        until(|| (request_ends(&lab.process.log()) > n).then_some(()))
            .await
            .unwrap();
        let log = lab.process.log();
        let mut forwarded = log
            .lines()
            .filter(|line| line.starts_with("uservice4  |   \"tracestate\""));
        let last = forwarded.next_back().unwrap_or_default();
        assert_eq!(last.contains(state), *kept, "{last}");
    }
}

#[tokio::test]
async fn headers_are_printed_whole_whatever_they_are() {
    let lab = Lab::start(&[]).await;
    let headers: [(&str, &[u8]); 4] = [
        ("x-twice", b"one"),
        ("x-twice", b"two"),
        ("x-bytes", b"caf\xe9"),
        ("x-text", "é".as_bytes()),
    ];
    get(&lab.url("uservice1"), &headers).await.unwrap();
    for line in [
        r#""one","#,
        r#""two""#,
        r#""x-bytes": "caf\\xe9""#,
        r#""x-text": "é""#,
    ] {
        lab.process.says(line).await;
    }
}

#[tokio::test]
async fn an_unsampled_caller_leaves_no_trace() {
    let lab = Lab::start(&[]).await;
    let unsampled = GOOD.replace(":0:1", ":0:0");
    let [through_edge, direct] = both_ways(&lab, &[("uber-trace-id", unsampled.as_bytes())]).await;
    for answer in [through_edge, direct] {
        assert!(
            answer.header("traceresponse").ends_with("-00"),
            "{answer:#?}"
        );
        assert!(
            !answer.header("server-timing").contains("trace;desc"),
            "a link that leads nowhere"
        );
    }
    let later = visit(&lab.url("edge"), "uservice3.localhost")
        .await
        .trace_id();
    Trace::of(&lab.url("tracestore"), &later, 7).await;
    assert!(
        Trace::now(&lab.url("tracestore"), ID)
            .await
            .spans
            .is_empty()
    );
}
