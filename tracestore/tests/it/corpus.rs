//! Inputs of the fuzz targets in `fuzz/`: what they found once stays mended, without a fuzzer.
//!
//! With `UPDATE_EXPECT` in the environment, the inputs that the targets begin with are written anew.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, any_value::Value},
    logs::v1::LogRecord,
    trace::v1::{Span, span::Event},
};
use prost::Message;
use tracestore::fuzz;

use crate::{
    hostile::{nested_value, shapes, strange_values},
    inputs::{CHAIN, EVERYTHING, NINE, attribute, chain, everything, int, plain, request, text},
    jaeger::batch,
    logs::{
        as_json as logs_as_json, every_field, hostile::LOOSE as LOOSE_LOGS, of_service, record,
    },
    otlp_http::{LOOSE, as_json},
    thrift::{Required, Struct, batch_of, log, long_tag, reference, span},
};

fn corpus(target: &str) -> PathBuf {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    fuzz.join(target)
}

/// Runs the target on each of its inputs, and on what is left of short ones when they break off or
/// one byte is another.
fn replay(target: &str, run: fn(&[u8]), seeds: &[(&str, Vec<u8>)]) {
    let folder = corpus(target);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, seed) in seeds {
            fs::write(folder.join(name), seed).unwrap();
        }
    }
    for (name, seed) in seeds {
        // Else the target would begin with what nothing reads any more.
        let path = folder.join(name);
        assert!(
            fs::read(&path).unwrap() == *seed,
            "{} is of another version",
            path.display()
        );
    }
    let mut inputs: Vec<PathBuf> = (fs::read_dir(&folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    for path in inputs {
        let input = fs::read(&path).unwrap();
        let check = |input: &[u8], how: &str| {
            let ran = catch_unwind(AssertUnwindSafe(|| run(input)));
            assert!(ran.is_ok(), "{} {how}", path.display());
        };
        check(&input, "as it is");
        // In a debug build, what is valid takes a millisecond.
        let step = input.len().div_ceil(128).max(1);
        for at in (0..input.len()).step_by(step) {
            check(&input[..at], &format!("cut off at {at}"));
            let mut changed = input.clone();
            changed[at] ^= [1, 0x80, 0xff][at % 3];
            check(&changed, &format!("with another byte at {at}"));
        }
    }
}

/// What is unusual in OTLP, as far as it is short.
fn requests() -> Vec<(&'static str, ExportTraceServiceRequest)> {
    let many = Span {
        attributes: (0..150).map(|n| int("n", n)).collect(),
        ..plain("a1", 1, "many")
    };
    let mut empty = request("s", vec![Span::default(); 50]);
    empty.resource_spans[0].resource = None;
    let twice = plain("a1", 1, "twice");
    let other = Span {
        name: "other".to_owned(),
        ..twice.clone()
    };
    let at = |start, end| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..plain("a1", 1, "at")
    };
    let times = vec![at(0, 0), at(u64::MAX, 1), at(NINE, u64::MAX), at(1, NINE)];
    let deep = Span {
        attributes: vec![attribute("deep", nested_value(30))],
        ..plain("a1", 1, "deep")
    };
    let odd = Span {
        attributes: strange_values(),
        ..plain("a1", 1, "odd")
    };
    let long = Span {
        attributes: vec![
            text("long", &"\u{1F980}".repeat(1100)),
            attribute("bytes", Value::BytesValue(vec![1; 4200])),
        ],
        ..plain("a1", 1, "long")
    };
    vec![
        ("chain", chain()),
        ("everything", everything()),
        ("many", request("s", vec![many])),
        ("empty-spans", empty),
        ("twice", request("s", vec![twice.clone(), twice, other])),
        ("times", request("s", times)),
        ("shapes", request("s", shapes())),
        ("deep", request("s", vec![deep])),
        ("odd", request("s", vec![odd])),
        ("long", request("s", vec![long])),
    ]
}

#[test]
fn no_otlp_in_protobuf_breaks_a_promise() {
    let seeds = requests();
    let seeds = seeds
        .iter()
        .map(|(name, seed)| (*name, seed.encode_to_vec()));
    replay(
        "otlp_protobuf",
        fuzz::otlp_protobuf,
        &seeds.collect::<Vec<_>>(),
    );
}

#[tokio::test]
async fn no_otlp_in_json_breaks_a_promise() {
    let loose = ("loose", LOOSE.as_bytes().to_vec());
    let mut seeds = vec![loose, ("empty", b"{}".to_vec())];
    for (name, request, id) in [
        ("chain", chain(), CHAIN),
        ("everything", everything(), EVERYTHING),
    ] {
        let json = as_json(request, id).await.to_string();
        seeds.push((name, json.into_bytes()));
    }
    replay("otlp_json", fuzz::otlp_json, &seeds);
}

#[test]
fn no_thrift_breaks_a_promise() {
    let required = |start, duration| Required {
        trace: (1, 2),
        span: 3,
        parent: 4,
        name: "times",
        start,
        duration,
    };
    let times = [
        (0, 0),
        (i64::MAX, i64::MAX),
        (-1, 1),
        (1, i64::MIN),
        (i64::MIN, -1),
    ];
    let times = times.map(|(start, duration)| {
        span(required(start, duration))
            .list(
                6,
                vec![reference(false, (0, 0), 0), reference(true, (1, 2), 5)],
            )
            .list(11, vec![log(i64::MIN, vec![long_tag("n", -1)])])
    });
    let lists = Struct::default().list(1, vec![Struct::default(); 20]).end();
    let seeds = [
        ("batch", batch()),
        ("times", batch_of("", vec![], times.into())),
        ("lists", lists),
    ];
    replay("jaeger_thrift", fuzz::jaeger_thrift, &seeds);
}

#[test]
fn no_segment_breaks_a_promise() {
    let pieces = |request: &ExportTraceServiceRequest| {
        fuzz::segment_pieces(&request.encode_to_vec()).unwrap()
    };
    let mut requests = requests();
    // So many values that their dictionary has an index, but in few spans, so that little time is enough for them.
    let event = |number| Event {
        name: format!("event {number}"),
        ..Event::default()
    };
    let spans = (1..6).map(|span| Span {
        events: (0..120)
            .map(|each| event(120 * u32::from(span) + each))
            .collect(),
        ..plain("a1", span, "indexed")
    });
    requests.push(("indexed", request("s", spans.collect())));
    let seeds = requests.iter();
    let seeds = seeds.map(|(name, request)| (*name, pieces(request)));
    replay("segment", fuzz::segment, &seeds.collect::<Vec<_>>());
}

/// What is unusual in a request with logs, as far as it is short.
fn log_requests() -> Vec<(&'static str, ExportLogsServiceRequest)> {
    let text = |text: &str| record(1, text);
    let many = LogRecord {
        attributes: (0..150).map(|n| int("n", n)).collect(),
        ..text("many")
    };
    let mut empty = of_service("s", vec![LogRecord::default(); 50]);
    empty.resource_logs[0].resource = None;
    let at = |time, observed| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        ..text("at")
    };
    let times = vec![at(0, 0), at(u64::MAX, 1), at(NINE, u64::MAX), at(0, NINE)];
    let deep = LogRecord {
        body: Some(AnyValue {
            value: Some(nested_value(30)),
        }),
        ..text("")
    };
    let odd = LogRecord {
        attributes: strange_values(),
        trace_id: vec![1; 3],
        span_id: vec![0; 8],
        severity_number: -1,
        ..text("odd\n\0\u{202e}")
    };
    vec![
        ("everything", every_field()),
        ("many", of_service("s", vec![many])),
        ("empty-records", empty),
        ("times", of_service("s", times)),
        ("deep", of_service("s", vec![deep])),
        ("odd", of_service("s", vec![odd])),
        (
            "long",
            of_service("s", vec![text(&"\u{1F980}".repeat(1100))]),
        ),
    ]
}

#[test]
fn no_otlp_with_logs_in_protobuf_breaks_a_promise() {
    let mut seeds: Vec<_> = (log_requests().iter())
        .map(|(name, seed)| (*name, seed.encode_to_vec()))
        .collect();
    let mut not_utf8 = of_service("s", vec![record(1, "a??b")]).encode_to_vec();
    let at = not_utf8
        .windows(2)
        .position(|bytes| bytes == b"??")
        .unwrap();
    not_utf8[at..at + 2].copy_from_slice(b"\xff\xc3");
    seeds.push(("not-utf8", not_utf8));
    replay("otlp_logs_protobuf", fuzz::otlp_logs_protobuf, &seeds);
}

#[tokio::test]
async fn no_otlp_with_logs_in_json_breaks_a_promise() {
    let everything = logs_as_json(every_field()).await.to_string();
    let seeds = [
        ("loose", LOOSE_LOGS.as_bytes().to_vec()),
        ("empty", b"{}".to_vec()),
        ("everything", everything.into_bytes()),
    ];
    replay("otlp_logs_json", fuzz::otlp_logs_json, &seeds);
}

#[test]
fn no_segment_of_logs_breaks_a_promise() {
    let requests = log_requests();
    let seeds = requests.iter().map(|(name, request)| {
        let pieces = fuzz::log_segment_pieces(&request.encode_to_vec());
        (*name, pieces.unwrap())
    });
    replay("log_segment", fuzz::log_segment, &seeds.collect::<Vec<_>>());
}

#[test]
fn no_log_breaks_a_promise() {
    let record = |form: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap().to_le_bytes();
        [&[form], &length[..], body].concat()
    };
    let change = |at: u16, flipped: u8| {
        let [low, high] = at.to_le_bytes();
        [low, high, flipped]
    };
    let small = request("s", vec![plain("a1", 1, "small")]).encode_to_vec();
    let whole = [
        &[4][..],
        &record(1, &small),
        &record(2, b"{}"),
        &record(1, b""),
        &record(3, &batch()),
    ]
    .concat();
    let with = |change: [u8; 3]| [&whole[..], &change].concat();
    let seeds = [
        ("whole", whole.clone()),
        ("header", with(change(8, 2))),
        ("length", with(change(29, 0x40))),
        ("body", with(change(60, 1))),
        ("cut", with(change(200, 0))),
        ("nothing", with(change(0, 0))),
    ];
    replay("log_replay", fuzz::log_replay, &seeds);
}

#[test]
fn no_query_breaks_a_promise() {
    let seeds = [
        "{}",
        "{ resource.service.name = \"shop\" && span:duration > 1.5s } | select(span.a, name)",
        "{.a=1}>>{!(status=error)}&&{kind=server||parent=nil} | count() > 2 | by(.x) | coalesce()",
        "{ span.\"a b\" =~ `a|b.*` } &>> { event:name !~ \"x\" } !~ { nestedSetLeft < -3 }",
        "{ 1 + 2 * -.a ^ 2 % 3 >= (.b - 1e3) } | avg(duration) / max(.x) != 1h30m",
        "{ } | rate() by (resource.service.name) with (exemplars=true)",
        "{ true } | quantile_over_time(duration, .5, .99) | topk(3)",
        "{ .a = 9223372036854775807 || .b = -9223372036854775808 || .c = 1ns }",
    ];
    let names = [
        "all", "select", "spansets", "regex", "numbers", "rate", "quantile", "bounds",
    ];
    let seeds = names
        .into_iter()
        .zip(seeds.map(|query| query.as_bytes().to_vec()));
    let seeds: Vec<_> = seeds.collect();
    replay("traceql", fuzz::traceql, &seeds);
    replay("traceql_print", fuzz::traceql_print, &seeds);
}

#[test]
fn no_completion_breaks_a_promise() {
    let seeds = [
        ("empty", ""),
        ("field", "{ sta"),
        (
            "value",
            "{ resource.service.name = `shop` && span:name = \"GE",
        ),
        ("scope", "{ span.http.re"),
        ("quoted", "{ span.\"a b\" =~ `x|y` || "),
        ("pipeline", "{ } | by(.x) | count() > 1 | sel"),
        (
            "metrics",
            "{ status = error } | quantile_over_time(duration, .9) by (resource.",
        ),
        ("hints", "{ } | rate() with (ex"),
        ("brackets", "{ ((((((((((name = `a` && (duration > 1s || "),
        ("comment", "{ } /* not \u{fc}ber */ && { kind = "),
    ];
    let seeds = seeds.map(|(name, query)| (name, query.as_bytes().to_vec()));
    replay("traceql_completion", fuzz::traceql_completion, &seeds);
}
