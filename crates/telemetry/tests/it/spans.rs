//! Telemetry without globals: whose the spans are, how large they get, and whether there are any.

use opentelemetry::{
    Array, Context, Key, KeyValue, SpanId, Value,
    trace::{Span as _, SpanContext, TraceContextExt, Tracer as _},
};
use opentelemetry_sdk::Resource;

use crate::{
    headers::{extract, headers, inject},
    recorder::{Recorder, builder},
};

fn resource(variables: &[&str]) -> Resource {
    let recorder = Recorder::default();
    let telemetry = builder(variables)
        .attribute(KeyValue::new("team", "code"))
        .processor(recorder.clone())
        .build()
        .unwrap();
    assert_eq!(telemetry.resource(), &recorder.resource());
    recorder.resource()
}

fn get(resource: &Resource, key: &'static str) -> Option<String> {
    let value = resource.get_ref(&Key::from_static_str(key));
    value.map(|value| value.as_str().into_owned())
}

#[test]
fn a_resource_says_who_made_the_spans() {
    let resource = resource(&[]);
    let said = |key| get(&resource, key);
    assert_eq!(said("service.name").as_deref(), Some("shop"));
    assert_eq!(said("service.version").as_deref(), Some("1.2.3"));
    assert_eq!(said("process.pid"), Some(std::process::id().to_string()));
    assert_eq!(said("os.type").as_deref(), Some(std::env::consts::OS));
    assert_eq!(said("telemetry.sdk.language").as_deref(), Some("rust"));
    assert_eq!(said("telemetry.sdk.name").as_deref(), Some("opentelemetry"));
    assert!(said("telemetry.sdk.version").unwrap().starts_with("0.32."));
    assert_eq!(said("process.runtime.name").as_deref(), Some("rustc"));
    assert!(said("process.runtime.version").unwrap().starts_with("1."));
    assert!(
        said("process.runtime.description")
            .unwrap()
            .starts_with("rustc 1.")
    );
    assert_eq!(said("service.instance.id").unwrap().len(), 36);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(said("host.name").as_deref(), Some(host.trim()));
    assert_eq!(said("team").as_deref(), Some("code"));
    assert_eq!(
        resource.schema_url(),
        Some(opentelemetry_semantic_conventions::SCHEMA_URL)
    );
}

#[test]
fn the_command_line_is_in_no_resource_unless_asked_for() {
    assert_eq!(get(&resource(&[]), "process.command_args"), None);
    let telemetry = builder(&[])
        .processor(Recorder::default())
        .command_args()
        .build()
        .unwrap();
    let arguments = get(telemetry.resource(), "process.command_args").unwrap();
    assert!(
        arguments.contains(&std::env::args().next().unwrap()),
        "{arguments}"
    );
}

#[test]
fn what_names_a_service_counts_in_the_order_of_the_specification() {
    let name = |variables: &[&str]| get(&resource(variables), "service.name").unwrap();
    assert_eq!(name(&["OTEL_RESOURCE_ATTRIBUTES=service.name=a"]), "a");
    assert_eq!(name(&["OTEL_RESOURCE_ATTRIBUTES=service.name="]), "shop");
    assert_eq!(
        name(&[
            "OTEL_RESOURCE_ATTRIBUTES=service.name=a",
            "OTEL_SERVICE_NAME=b"
        ]),
        "b"
    );
    assert_eq!(
        name(&[
            "OTEL_SERVICE_NAME=",
            "OTEL_RESOURCE_ATTRIBUTES=service.name=a"
        ]),
        "a"
    );

    let resource = resource(&[
        "OTEL_RESOURCE_ATTRIBUTES=service.version=9,team=env,b=b%2Cc,service.instance.id=i",
    ]);
    assert_eq!(get(&resource, "service.version").as_deref(), Some("9"));
    assert_eq!(get(&resource, "b").as_deref(), Some("b,c"));
    assert_eq!(get(&resource, "service.instance.id").as_deref(), Some("i"));
    // Code counts before the environment.
    assert_eq!(get(&resource, "team").as_deref(), Some("code"));
}

#[test]
fn the_scope_of_a_span_is_that_of_its_tracer() {
    let recorder = Recorder::default();
    let telemetry = builder(&[]).processor(recorder.clone()).build().unwrap();
    telemetry.tracer("shop::cart").start("add").end();
    let scope = recorder.take()[0].instrumentation_scope.clone();
    assert_eq!(scope.name(), "shop::cart");
    assert_eq!(
        scope.schema_url(),
        Some(opentelemetry_semantic_conventions::SCHEMA_URL)
    );
}

#[test]
fn strings_are_clipped_at_a_character() {
    let recorder = Recorder::default();
    let telemetry = builder(&["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=3"]);
    let telemetry = telemetry.processor(recorder.clone()).build().unwrap();
    let long = || vec![KeyValue::new("long", "äöüß")];
    let mut span = telemetry.tracer("t").start("a name is no attribute");
    span.set_attribute(KeyValue::new("short", "äöü"));
    span.set_attribute(KeyValue::new("emoji", "🦀🦀🦀🦀"));
    span.set_attribute(KeyValue::new("number", 12345));
    let list = Array::String(vec!["a".into(), "abcdef".into()]);
    span.set_attribute(KeyValue::new("list", Value::Array(list)));
    span.add_event("e", long());
    span.add_link(SpanContext::NONE, long());
    span.end();
    let span = recorder.take().remove(0);
    let values: Vec<_> = span
        .attributes
        .iter()
        .map(|pair| pair.value.as_str().into_owned())
        .collect();
    assert_eq!(values, ["äöü", "🦀🦀🦀", "12345", "[\"a\",\"abc\"]"]);
    assert_eq!(span.events[0].attributes[0].value.as_str(), "äöü");
    assert_eq!(span.links[0].attributes[0].value.as_str(), "äöü");
    assert_eq!(span.name, "a name is no attribute");
}

#[test]
fn more_than_the_limits_is_dropped_and_counted() {
    let recorder = Recorder::default();
    let telemetry = builder(&[
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=1",
        "OTEL_SPAN_EVENT_COUNT_LIMIT=2",
        "OTEL_SPAN_LINK_COUNT_LIMIT=3",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=4",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=5",
    ]);
    let telemetry = telemetry.processor(recorder.clone()).build().unwrap();
    let ten = || {
        (0..10)
            .map(|nth| KeyValue::new(format!("k{nth}"), nth))
            .collect::<Vec<_>>()
    };
    let tracer = telemetry.tracer("t");
    let mut span = tracer
        .span_builder("s")
        .with_attributes(ten())
        .start(&tracer);
    for _ in 0..10 {
        span.add_event("e", ten());
        span.add_link(SpanContext::NONE, ten());
    }
    span.end();
    let span = recorder.take().remove(0);
    assert_eq!(
        (span.attributes.len(), span.dropped_attributes_count),
        (1, 9)
    );
    assert_eq!((span.events.len(), span.events.dropped_count), (2, 8));
    assert_eq!((span.links.len(), span.links.dropped_count), (3, 7));
    assert_eq!(span.events[0].attributes.len(), 4);
    assert_eq!(span.links[0].attributes.len(), 5);
}

#[test]
fn a_service_without_telemetry_passes_trace_headers_on_as_they_are() {
    let recorder = Recorder::default();
    let telemetry = builder(&["OTEL_SDK_DISABLED=true", "OTEL_PROPAGATORS=jaeger"]);
    let telemetry = telemetry.processor(recorder.clone()).build().unwrap();
    assert!(!telemetry.is_enabled());
    let caller = "000000000000000000000000000000aa:00000000000000bb:0:1";
    let propagator = telemetry.propagator();
    let (parent, _) = extract(&propagator, &headers(&[("uber-trace-id", caller)]));
    for tracer in [telemetry.tracer("t"), telemetry.thread_tracer("t")] {
        let mut span = tracer.start_with_context("s", &parent);
        assert!(!span.is_recording());
        span.set_attribute(KeyValue::new("a", 1));
        let cx = parent.with_span(span);
        assert_eq!(
            inject(&propagator, &cx),
            [format!("uber-trace-id: {caller}")]
        );
        cx.span().end();
    }
    assert!(recorder.take().is_empty());
}

#[test]
fn without_an_exporter_traces_still_go_through_a_service() {
    let telemetry = builder(&["OTEL_TRACES_EXPORTER=none"]).build().unwrap();
    let span = telemetry.tracer("t").start("s");
    assert!(span.span_context().is_sampled() && span.span_context().is_valid());
    assert_eq!(telemetry.accounts(), telemetry::Accounts::default());
    assert_eq!(
        telemetry.shutdown_blocking(),
        Ok(telemetry::Outcome::default())
    );
}

#[test]
fn every_thread_may_have_a_provider_of_its_own() {
    let recorder = Recorder::default();
    let telemetry = builder(&[]).processor(recorder.clone()).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let tracer = telemetry.thread_tracer("worker");
            scope.spawn(move || tracer.start("s").end());
        }
    });
    // That these are gone ends nothing for others.
    telemetry.tracer("main").start("s").end();
    let mut scopes: Vec<_> = recorder.take();
    scopes.sort_by_key(|span| span.instrumentation_scope.name().to_owned());
    let scopes: Vec<_> = scopes
        .iter()
        .map(|span| span.instrumentation_scope.name())
        .collect();
    assert_eq!(scopes, ["main", "worker", "worker"]);
    assert_eq!(recorder.shutdowns(), 0);
    telemetry.shutdown_blocking().unwrap();
    assert_eq!(recorder.shutdowns(), 1);
}

#[test]
fn dropping_telemetry_shuts_it_down_once() {
    let recorder = Recorder::default();
    drop(builder(&[]).processor(recorder.clone()).build().unwrap());
    assert_eq!(recorder.shutdowns(), 1);
}

/// What becomes of the requests of which the propagator of 0.32 makes something else, with spans.
#[test]
fn odd_callers_of_jaeger_make_good_spans() {
    let recorder = Recorder::default();
    let telemetry = builder(&["OTEL_PROPAGATORS=jaeger"]);
    let telemetry = telemetry.processor(recorder.clone()).build().unwrap();
    let tracer = telemetry.tracer("t");
    let (propagator, id) = (telemetry.propagator(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let of = |lines: &[(&str, &str)]| {
        let (parent, _) = extract(&propagator, &headers(lines));
        let span = tracer.start_with_context("s", &parent);
        let cx = parent.with_span(span);
        let onwards = inject(&propagator, &cx);
        cx.span().end();
        (recorder.take().pop(), onwards)
    };
    let continues = |value: &str, trace_id: &str, flags: u8| {
        let (span, onwards) = of(&[("uber-trace-id", value)]);
        let span = span.unwrap();
        assert_eq!(
            span.span_context.trace_id().to_string(),
            trace_id,
            "{value}"
        );
        assert_eq!(span.span_context.trace_flags().to_u8(), 1, "{value}");
        assert_ne!(span.parent_span_id, SpanId::INVALID, "{value}");
        let span_id = span.span_context.span_id();
        assert_eq!(
            onwards,
            [format!("uber-trace-id: {trace_id}:{span_id}:0:{flags}")],
            "{value}"
        );
    };
    continues(&format!("{id}:00f067aa0ba902b7:0:1"), id, 1);
    continues(
        "4d0000000000000016:17c29:0:1",
        "000000000000004d0000000000000016",
        1,
    );
    continues(&format!("{id}:00f067aa0ba902b7:deadbeef:1"), id, 1);
    continues(&format!("{id}%3A00f067aa0ba902b7%3A0%3A1"), id, 1);
    continues(&format!("{id}%3a00f067aa0ba902b7%3a0%3a1"), id, 1);
    continues(&format!("{id}:00f067aa0ba902b7:0:3"), id, 3);
    continues(&format!("{id}:00f067aa0ba902b7:0:2"), id, 3);
    continues(&format!("{id}:00f067aa0ba902b7:0:9"), id, 1);
    continues(&format!("{id}:00f067aa0ba902b7:0:f"), id, 3);
    continues(&format!("{id}:00f067aa0ba902b7:0:0b"), id, 3);
    // Hexadecimal: sixteen has no flag that is known.
    assert!(
        of(&[("uber-trace-id", &format!("{id}:00f067aa0ba902b7:0:10"))])
            .0
            .is_none()
    );

    let begins = |lines: &[(&str, &str)], others: &[&str]| {
        let (span, onwards) = of(lines);
        let span = span.unwrap().span_context;
        assert!(span.is_valid() && span.is_sampled(), "{lines:?}");
        assert_ne!(span.trace_id().to_string(), id, "{lines:?}");
        let own = format!("uber-trace-id: {}:{}:0:1", span.trace_id(), span.span_id());
        let mut all = vec![own.as_str()];
        all.extend(others);
        all.sort_unstable();
        assert_eq!(onwards, all, "{lines:?}");
    };
    begins(&[("uber-trace-id", "0:0:0:1")], &[]);
    begins(&[("uber-trace-id", "0:0:0:0")], &[]);
    begins(&[("uber-trace-id", &format!("{id}:0:0:1"))], &[]);
    begins(&[("uber-trace-id", &format!("+{id}:1:0:1"))], &[]);
    begins(&[], &[]);
    begins(&[("uberctx-user", "bob")], &["uberctx-user: bob"]);

    let (span, onwards) = of(&[
        ("uber-trace-id", &format!("{id}:00f067aa0ba902b7:0:1")),
        ("uberctx-user", "a=b,c"),
    ]);
    let span = span.unwrap().span_context;
    assert_eq!(span.trace_id().to_string(), id);
    assert_eq!(span.trace_state().header(), "");
    assert!(
        onwards.contains(&"uberctx-user: a%3Db%2Cc".to_owned()),
        "{onwards:?}"
    );

    let (span, onwards) = of(&[("jaeger-debug-id", "mine")]);
    let span = span.unwrap().span_context;
    let debug = format!("uber-trace-id: {}:{}:0:3", span.trace_id(), span.span_id());
    assert_eq!(onwards, [debug]);
}

#[test]
fn no_span_has_an_id_of_zero() {
    let recorder = Recorder::default();
    let telemetry = builder(&["OTEL_TRACES_SAMPLER=always_on"]);
    let telemetry = telemetry.processor(recorder.clone()).build().unwrap();
    let nobody = Context::new().with_remote_span_context(SpanContext::NONE);
    let tracer = telemetry.tracer("t");
    tracer.start_with_context("s", &nobody).end();
    tracer.start("s").end();
    let spans = recorder.take();
    assert_eq!(spans.len(), 1);
    assert!(spans[0].span_context.is_valid());
}
