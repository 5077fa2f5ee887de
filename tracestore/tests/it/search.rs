//! The newest traces, as `/api/search` lists them.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use serde_json::{Value, json};

use crate::{
    inputs::{MS, NINE, chain, id, plain, request, span_id, text},
    server::{Server, start},
};

const SECOND: u64 = 1000 * MS;

/// The last two digits of the ids that are found.
async fn ids(server: &Server, query: &str) -> Vec<String> {
    let found = server.get(&format!("/api/search{query}")).await.json();
    let traces = found["traces"].as_array().unwrap();
    let id = |trace: &Value| trace["traceID"].as_str().unwrap()[30..].to_owned();
    traces.iter().map(id).collect()
}

#[tokio::test]
async fn an_empty_store_finds_nothing() {
    let server = start().await;
    let found = server.get("/api/search").await.json();
    assert_eq!(found["traces"], json!([]));
}

#[tokio::test]
async fn the_newest_traces_come_first_and_equal_ones_by_id() {
    let server = start().await;
    for (trace, second) in [("a1", 3), ("a2", 1), ("a3", 2), ("a5", 2), ("a4", 2)] {
        let mut span = plain(trace, 1, "work");
        span.start_time_unix_nano = (second + 1_000_000_000) * SECOND;
        span.end_time_unix_nano = span.start_time_unix_nano + MS;
        server.export(request("s", vec![span])).await.unwrap();
    }
    assert_eq!(ids(&server, "").await, ["a1", "a3", "a4", "a5", "a2"]);
    assert_eq!(ids(&server, "?limit=2&q=%7B%20%7D").await, ["a1", "a3"]);
    assert_eq!(ids(&server, "?limit=1000&spss=3").await.len(), 5);
    let window = "?start=1000000001&end=1000000002";
    assert_eq!(ids(&server, window).await, ["a3", "a4", "a5", "a2"]);
    assert_eq!(ids(&server, "?start=1&end=2").await, [""; 0]);
}

#[tokio::test]
async fn twenty_are_listed_unless_more_are_asked_for() {
    let server = start().await;
    let traces = (1..=30).map(|trace| plain(&format!("{trace:x}"), 1, "work"));
    server.export(request("s", traces.collect())).await.unwrap();
    assert_eq!(ids(&server, "").await.len(), 20);
    assert_eq!(ids(&server, "?limit=29").await.len(), 29);
}

#[tokio::test]
async fn a_trace_is_found_in_the_window_of_its_arrival_though_its_clock_is_wrong() {
    let server = start().await;
    let mut span = plain("a1", 1, "in 1970");
    span.start_time_unix_nano = SECOND;
    span.end_time_unix_nano = 2 * SECOND;
    server.export(request("s", vec![span])).await.unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let window = format!("?start={}&end={}", now - 60, now + 60);
    assert_eq!(ids(&server, &window).await, ["a1"]);
}

#[tokio::test]
async fn a_trace_without_its_root_says_so_until_the_root_arrives() {
    let server = start().await;
    let mut child = plain("a1", 2, "child");
    child.parent_span_id = span_id(1);
    server.export(request("s", vec![child])).await.unwrap();
    let trace = |found: Value| found["traces"][0].clone();
    let found = trace(server.get("/api/search").await.json());
    assert_eq!(found["rootServiceName"], "<root span not yet received>");
    assert_eq!(found["rootTraceName"], Value::Null);

    server
        .export(request("r", vec![plain("a1", 1, "root")]))
        .await
        .unwrap();
    let found = trace(server.get("/api/search").await.json());
    assert_eq!(
        (&found["rootServiceName"], &found["rootTraceName"]),
        (&json!("r"), &json!("root"))
    );
    assert_eq!(
        found["serviceStats"],
        json!({"r": {"spanCount": 1}, "s": {"spanCount": 1}})
    );
}

#[tokio::test]
async fn a_root_without_a_service_is_listed_as_tempo_lists_it() {
    let server = start().await;
    let mut anonymous = request("s", vec![plain("a1", 1, "root")]);
    anonymous.resource_spans[0].resource = None;
    server.export(anonymous).await.unwrap();
    let found = server.get("/api/search").await.json()["traces"][0].take();
    assert_eq!(found["rootServiceName"], "<root span not yet received>");
    assert_eq!(found["rootTraceName"], "root");
    assert_eq!(found["serviceStats"], json!({"": {"spanCount": 1}}));
}

/// The names of the spans that a query finds in the chain, `-` where it does not find it.
async fn spans(server: &Server, query: &str) -> String {
    let path = format!("/api/search?spss=100&q={}", encoded(query));
    let answer = server.get(&path).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let found = answer.json();
    let Some(trace) = found["traces"].get(0) else {
        return "-".to_owned();
    };
    let set = &trace["spanSets"][0];
    let spans = set["spans"].as_array().unwrap();
    assert_eq!(set["matched"], spans.len());
    let names = spans.iter().map(|span| span["name"].as_str().unwrap());
    names.collect::<Vec<_>>().join(", ")
}

/// Percent-encoded.
fn encoded(query: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    query.bytes().map(byte).collect()
}

#[tokio::test]
async fn a_query_finds_the_spans_that_it_describes() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let four = "handle_incoming_call, redis_call, other_uservice_call, handle_incoming_call, database_call";
    for (query, expected) in [
        ("{ name = \"redis_call\" }", "redis_call"),
        ("{ kind = client }", "ReverseProxy, other_uservice_call"),
        ("{ resource.service.name = \"edge\" }", "GET, ReverseProxy"),
        ("{ resource.service.name != \"edge\" }", four),
        ("{ resource.service.name =~ \"uservice.\" }", four),
        ("{ resource.service.name =~ \"uservice\" }", "-"),
        (
            "{ span.http.response.status_code >= 200 && name = \"GET\" }",
            "GET",
        ),
        (
            "{ span.http.response.status_code = 200.0 && name = \"GET\" }",
            "GET",
        ),
        ("{ .url.path = \"/\" && .service.name = \"edge\" }", "GET"),
        ("{ duration > 1.709s && kind = server }", "GET"),
        (
            "{ span.example = \"\u{1F980}\" } | select(kind)",
            "handle_incoming_call",
        ),
        (
            "{ event:name = \"Request decoded!\" }",
            "handle_incoming_call",
        ),
        (
            "{ span.example = nil && name = \"redis_call\" }",
            "redis_call",
        ),
        ("{ status = error }", "database_call"),
        (
            "{ name = \"redis_call\" } ~ { kind = client }",
            "other_uservice_call",
        ),
        (
            "{ resource.service.name = \"uservice3\" } > { kind = server }",
            "handle_incoming_call",
        ),
        (
            "{ name = \"GET\" } >> { name = \"database_call\" }",
            "database_call",
        ),
        ("{ name = \"database_call\" } >> { name = \"GET\" }", "-"),
        (
            "{ rootName = \"GET\" && kind = internal }",
            "redis_call, database_call",
        ),
        ("{ traceDuration > 1h }", "-"),
        (
            "{ kind = server } | count() > 2",
            "GET, handle_incoming_call, handle_incoming_call",
        ),
        ("{ kind = server } | count() > 3", "-"),
        ("{ nestedSetParent < 0 }", "GET"),
        ("{ span.absent = 1 || name = \"redis_call\" }", "redis_call"),
    ] {
        assert_eq!(spans(&server, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn what_a_query_names_is_shown_with_each_span() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let query = encoded("{ span.url.path = \"/\" } | select(resource.service.name, kind)");
    let found = server.get(&format!("/api/search?q={query}")).await.json();
    let span = &found["traces"][0]["spanSets"][0]["spans"][0];
    assert_eq!(
        span["attributes"],
        json!([
            {"key": "url.path", "value": {"stringValue": "/"}},
            {"key": "service.name", "value": {"stringValue": "edge"}},
            {"key": "kind", "value": {"stringValue": "server"}},
        ])
    );
    assert_eq!(span["spanID"], "f000000000000001");
    assert_eq!(span["durationNanos"], "1710123456");
}

#[tokio::test]
async fn what_a_query_names_twice_is_shown_once() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    for query in [
        "{ span.url.path = \"/\" } | select(.url.path)",
        "{ .url.path = \"/\" && span.url.path != nil } | count() > 0",
    ] {
        let query = encoded(query);
        let found = server.get(&format!("/api/search?q={query}")).await.json();
        assert_eq!(
            found["traces"][0]["spanSets"][0]["spans"][0]["attributes"],
            json!([{"key": "url.path", "value": {"stringValue": "/"}}])
        );
    }
}

#[tokio::test]
async fn of_several_events_that_which_was_asked_for_is_shown() {
    let server = start().await;
    let mut span = plain("a1", 1, "span");
    let event = |name: &str, after: u64| Event {
        name: name.to_owned(),
        time_unix_nano: NINE + after,
        attributes: vec![text("of", name)],
        ..Event::default()
    };
    span.events = vec![event("first", 1000), event("second", 2000)];
    server.export(request("s", vec![span])).await.unwrap();
    for (query, shown) in [
        ("{ event:name = `second` }", "second"),
        ("{ event:name =~ `s.*` }", "second"),
        ("{ `second` = event:name }", "second"),
        ("{ event:name != `first` }", "second"),
        ("{ event:name != nil }", "first"),
        ("{ event.of = `second` }", "second"),
        ("{ event.of = `second` || name = `span` }", "second"),
        ("{ event:timeSinceStart > 1500ns }", "2\u{b5}s"),
        ("{ event:timeSinceStart > 1ns }", "1\u{b5}s"),
        ("{ name = `span` } | select(event:name)", "first"),
    ] {
        let path = format!("/api/search?q={}", encoded(query));
        let found = server.get(&path).await.json();
        let span = &found["traces"][0]["spanSets"][0]["spans"][0];
        let value = &span["attributes"][0]["value"]["stringValue"];
        assert_eq!(value, shown, "{query}: {found}");
    }
}

/// Keys are to be unique, and senders that repeat them are not refused.
#[tokio::test]
async fn of_a_key_that_is_there_twice_the_value_that_was_asked_for_is_shown() {
    let server = start().await;
    let mut span = plain("a1", 1, "span");
    let twice = || {
        ["first", "second"]
            .map(|value| text("again", value))
            .to_vec()
    };
    span.attributes = twice();
    span.events = vec![Event {
        attributes: twice(),
        ..Event::default()
    }];
    server.export(request("s", vec![span])).await.unwrap();
    for (query, shown) in [
        ("{ span.again = `second` }", "second"),
        ("{ span.again = `first` }", "first"),
        ("{ span.again != `first` }", "second"),
        ("{ span.again =~ `s.*` }", "second"),
        ("{ .again > `first` }", "second"),
        ("{ span.again != nil && span.again = `second` }", "second"),
        ("{ event.again != nil && event.again = `second` }", "second"),
        ("{ span.again = `second` } | count() > 0", "second"),
        ("{ .again = `second` } && { true }", "second"),
        ("{ true } | select(span.again)", "first"),
        ("{ true } | select(.again)", "first"),
    ] {
        let path = format!("/api/search?q={}", encoded(query));
        let found = server.get(&path).await.json();
        let span = &found["traces"][0]["spanSets"][0]["spans"][0];
        let value = &span["attributes"][0]["value"]["stringValue"];
        assert_eq!(value, shown, "{query}: {found}");
    }
}

#[tokio::test]
async fn tags_and_their_values_are_listed() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let tags = server.get("/api/v2/search/tags").await.json();
    let scope = |wanted: &str| {
        let scopes = tags["scopes"].as_array().unwrap();
        let found = scopes.iter().find(|scope| scope["name"] == wanted);
        found.unwrap_or_else(|| panic!("{wanted} in {tags}"))["tags"].clone()
    };
    let resource = scope("resource");
    assert!(
        resource
            .as_array()
            .unwrap()
            .contains(&json!("service.name")),
        "{resource}"
    );
    assert!(
        scope("span")
            .as_array()
            .unwrap()
            .contains(&json!("example"))
    );
    assert!(
        scope("intrinsic")
            .as_array()
            .unwrap()
            .contains(&json!("duration"))
    );
    let only = server.get("/api/v2/search/tags?scope=span").await.json();
    assert_eq!(only["scopes"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/v2/search/tags?scope=x").await.status, 400);
    // Those of some spans, while a query is typed too.
    for (query, has_example) in [
        ("%7B%20resource.service.name%3D%22edge%22%20%7D", false),
        (
            "%7B%20resource.service.name%3D%22edge%22%20%26%26%20na",
            false,
        ),
        ("%7B%20span.example%20!%3D%20nil%20%7D", true),
        ("%7B%20na", true),
    ] {
        let path = format!("/api/v2/search/tags?scope=span&q={query}");
        let tags = server.get(&path).await.json()["scopes"][0]["tags"].take();
        let tags = tags.as_array().unwrap();
        assert!(!tags.is_empty());
        assert_eq!(tags.contains(&json!("example")), has_example, "{query}");
    }

    for (path, expected) in [
        (
            "resource.service.name",
            json!(["edge", "uservice3", "uservice4"]),
        ),
        (
            "name?q=%7B%20resource.service.name%20%3D%20%22edge%22%20%7D",
            json!(["GET", "ReverseProxy"]),
        ),
        // What is being typed narrows nothing down, and fails nothing.
        ("span.example?q=%7B%20name%20%3D", json!(["\u{1F980}"])),
        ("status", json!(["error", "ok", "unset"])),
        ("span.absent", json!([])),
        ("span.a/b", json!([])),
        ("duration", json!([])),
    ] {
        let (tag, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v2/search/tag/{tag}/values?{query}");
        let found = server.get(&path).await.json();
        let values = found["tagValues"]
            .as_array()
            .unwrap_or_else(|| panic!("{path}: {found}"));
        let values: Vec<_> = values.iter().map(|value| value["value"].clone()).collect();
        assert_eq!(json!(values), expected, "{path}");
    }
    for bad in ["%7D", "nope", "span"] {
        let path = format!("/api/v2/search/tag/{bad}/values");
        assert_eq!(server.get(&path).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn tags_and_values_are_those_of_the_spans_that_the_filter_of_a_query_finds() {
    let server = start().await;
    for (service, trace, time, other) in [("shop", "a1", 2 * SECOND, "b1"), ("pay", "a2", MS, "b2")]
    {
        let [root, mut child] = ["root", "child"].map(|name| {
            let mut span = plain(trace, 1, &format!("{name} {service}"));
            span.end_time_unix_nano = span.start_time_unix_nano + time;
            span.attributes = vec![
                text(&format!("key of {}", span.name), ""),
                text("same", name),
                text("and", "child"),
            ];
            span
        });
        child.parent_span_id = root.span_id.clone();
        child.span_id = span_id(2);
        child.events = vec![Event {
            time_unix_nano: child.start_time_unix_nano + time / 2,
            ..Event::default()
        }];
        child.links = vec![Link {
            trace_id: id(other),
            span_id: span_id(3),
            ..Link::default()
        }];
        let spans = vec![root, child];
        server.export(request(service, spans)).await.unwrap();
    }
    let values = async |tag: &str, query: &str| -> Vec<String> {
        let path = format!("/api/v2/search/tag/{tag}/values?q={}", encoded(query));
        let found = server.get(&path).await.json();
        let values = found["tagValues"].as_array().unwrap().iter();
        let values = values.map(|value| value["value"].as_str().unwrap().to_owned());
        values.collect()
    };
    let all = "child pay, child shop, root pay, root shop";
    for (query, expected) in [
        ("{ traceDuration > 1s }", "child shop, root shop"),
        ("{ trace:duration < 1s && nestedSetParent < 0 }", "root pay"),
        ("{ rootName = `root pay` }", "child pay, root pay"),
        (
            "{ rootServiceName =~ `s.*` && kind = unspecified }",
            "child shop, root shop",
        ),
        ("{ event:timeSinceStart > 10ms }", "child shop"),
        (
            "{ event:timeSinceStart < 10ms || traceDuration > 1s }",
            "child pay, child shop, root shop",
        ),
        ("{ link:traceID =~ `.*b2` }", "child pay"),
        ("{ link:spanID != nil }", "child pay, child shop"),
        ("{ span.same = span.and }", "child pay, child shop"),
        ("{ span:childCount > 0 }", "root pay, root shop"),
        ("{ traceDuration > 1s && traceDuration < 1s }", ""),
        // While it is typed.
        ("{ traceDuration > 1s && span.", "child shop, root shop"),
        // What follows narrows nothing down.
        (
            "{ traceDuration > 1s } | count() > 5",
            "child shop, root shop",
        ),
        ("{ traceDuration > 1s } | rate()", "child shop, root shop"),
        ("{ name = \"\" } >> { traceDuration > 1s }", all),
    ] {
        let found = values("name", query).await;
        assert_eq!(found.join(", "), expected, "{query}");

        let roots = ["pay", "shop"].into_iter();
        let roots: Vec<_> = roots.filter(|root| expected.contains(root)).collect();
        assert_eq!(values("rootServiceName", query).await, roots, "{query}");

        let path = format!("/api/v2/search/tags?scope=span&q={}", encoded(query));
        let tags = server.get(&path).await.json();
        let tags = tags["scopes"].as_array().unwrap().iter();
        let tags = tags.flat_map(|scope| scope["tags"].as_array().unwrap());
        let tags = tags.filter_map(|tag| tag.as_str().unwrap().strip_prefix("key of "));
        assert_eq!(tags.collect::<Vec<_>>(), found, "{query}");
    }
    let typed = "{ traceDuration > 1s && name = \"\" }";
    assert_eq!(values("name", typed).await, ["child shop", "root shop"]);
}

#[tokio::test]
async fn lists_have_the_values_of_their_items_and_floats_look_like_floats() {
    let server = start().await;
    let text = |text: &str| json!({"stringValue": text});
    let span = |id: u64, tags: serde_json::Value, load: serde_json::Value| {
        json!({
            "traceId": format!("{id:032x}"), "spanId": format!("{id:016x}"), "name": "GET",
            "attributes": [
                {"key": "tags", "value": {"arrayValue": {"values": tags}}},
                {"key": "load", "value": load},
            ],
        })
    };
    let spans = json!([
        span(1, json!([text("b"), text("a")]), json!({"doubleValue": 3})),
        span(
            2,
            json!([text("b"), {"intValue": "7"}]),
            json!({"doubleValue": 0.5})
        ),
        span(3, json!([]), json!({"doubleValue": 1e300})),
    ]);
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let sent = server
        .post(&[("content-type", "application/json")], body.to_string())
        .await;
    assert_eq!(sent.status, 200);
    for (path, expected) in [
        ("span.tags", "int 7, string a, string b"),
        (
            "span.tags?q=%7B%20span.load%20%3D%203%20%7D",
            "string a, string b",
        ),
        ("span.load", "float 0.5, float 1e300, float 3.0"),
    ] {
        let (tag, query) = path.split_once('?').unwrap_or((path, ""));
        let path = format!("/api/v2/search/tag/{tag}/values?{query}");
        let found = server.get(&path).await.json();
        let values = found["tagValues"].as_array().unwrap().iter();
        let text = |of: &serde_json::Value| of.as_str().unwrap().to_owned();
        let values =
            values.map(|value| format!("{} {}", text(&value["type"]), text(&value["value"])));
        let mut values: Vec<_> = values.collect();
        values.sort();
        assert_eq!(values.join(", "), expected, "{path}");
    }
}

#[tokio::test]
async fn plain_names_of_tags_are_those_of_the_scope_that_is_asked_for() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    let names = async |scope: &str| {
        let path = format!("/api/search/tags?scope={scope}");
        server.get(&path).await.json()["tagNames"].clone()
    };
    let has =
        |names: &serde_json::Value, name: &str| names.as_array().unwrap().contains(&json!(name));
    for (scope, of_span, of_resource, intrinsic) in [
        ("", true, true, false),
        ("none", true, true, false),
        ("span", true, false, false),
        ("resource", false, true, false),
        ("intrinsic", false, false, true),
    ] {
        let names = names(scope).await;
        assert_eq!(has(&names, "example"), of_span, "{scope}: {names}");
        assert_eq!(has(&names, "service.name"), of_resource, "{scope}: {names}");
        assert_eq!(has(&names, "duration"), intrinsic, "{scope}: {names}");
    }
    assert_eq!(server.get("/api/search/tags?scope=x").await.status, 400);
    // A limit is one of all scopes.
    let some = names("&limit=2").await;
    assert_eq!(some.as_array().unwrap().len(), 2, "{some}");
}

#[tokio::test]
async fn bad_queries_are_refused_in_plain_text() {
    let server = start().await;
    server.export(chain()).await.unwrap();
    for (query, why) in [
        ("?q=%7B%20status%20%3D%20%7D", "at offset 11"),
        (
            "?q=%7B%7D%20%7C%20rate()",
            "a metrics query finds no traces",
        ),
        (
            "?tags=service.name%3Dedge%3D",
            "invalid tags: unexpected '=' at pos 18",
        ),
        ("?q=%7B%7D&tags=a%3Db", "can't specify tags"),
        ("?limit=0", "invalid limit"),
        ("?limit=262145", "invalid limit"),
        ("?spss=101", "invalid spss"),
        ("?start=2&end=1", "start must be before end"),
    ] {
        let answer = server.get(&format!("/api/search{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
        assert!(answer.text().contains(why), "{query}: {}", answer.text());
    }
}
