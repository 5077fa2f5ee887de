//! A trace as a whole.

use expect_test::expect;
use serde_json::Value;

use crate::{
    run::{Said, playground},
    store::Store,
};

/// Everything of a trace but ids, times and the resource, as indented text.
pub(crate) fn tree(store: &Store, id: &str) -> String {
    let answer = store.json(&format!("/api/v2/traces/{id}"));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let scopes = list(&answer["trace"]["resourceSpans"]);
    let scopes = scopes.iter().flat_map(|of| list(&of["scopeSpans"]));
    let mut spans: Vec<_> = scopes.flat_map(|of| list(&of["spans"])).collect();
    let start = |span: &Value| {
        span["startTimeUnixNano"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    spans.sort_by_key(start);
    let roots: Vec<_> = spans
        .iter()
        .filter(|span| span["parentSpanId"].is_null())
        .collect();
    assert_eq!(roots.len(), 1, "{answer}");
    let mut text = String::new();
    write(roots[0], 0, &spans, &mut text);
    assert_eq!(
        text.lines().filter(|line| line.contains(" [")).count(),
        spans.len(),
        "{text}"
    );
    text
}

fn write(span: &Value, depth: usize, spans: &[Value], text: &mut String) {
    let indent = "  ".repeat(depth);
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = string(&span["kind"]).replace("SPAN_KIND_", "");
    let status = match string(&span["status"]["code"]).as_str() {
        "STATUS_CODE_ERROR" => format!(" error: {}", string(&span["status"]["message"])),
        _ => String::new(),
    };
    let name = string(&span["name"]);
    *text += &format!("{indent}{name} [{}]{status}\n", kind.to_lowercase());
    for line in attributes(&span["attributes"]) {
        *text += &format!("{indent}    {line}\n");
    }
    for event in span["events"].as_array().into_iter().flatten() {
        let attributes = attributes(&event["attributes"]).join(" ");
        *text += &format!("{indent}    \"{}\" {attributes}\n", string(&event["name"]));
    }
    for child in spans
        .iter()
        .filter(|child| child["parentSpanId"] == span["spanId"])
    {
        write(child, depth + 1, spans, text);
    }
}

/// `key=value`, sorted.
fn attributes(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    let mut shown: Vec<_> = list
        .map(|pair| {
            let value = pair["value"].as_object().unwrap().iter().next().unwrap();
            let (kind, value) = (value.0.trim_end_matches("Value"), value.1);
            format!("{}={value} ({kind})", pair["key"].as_str().unwrap()).replace(" (string)", "")
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn an_order_whose_payment_is_repeated_is_one_trace() {
    let store = Store::start();
    let said = Said::by(&mut playground(store.endpoint(), &["--seed", "42"]));
    let mut traces = said.traces().into_iter();
    let order = traces
        .find(|trace| trace.request == "POST /orders 201" && trace.marks.contains("survived"));
    expect![[r#"
        POST /orders [server]
            http.request.method="POST"
            http.response.status_code="201" (int)
            http.route="/orders"
            url.path="/orders"
            url.scheme="https"
            "request" level="INFO" method="POST" path="/orders" target="playground::request"
            "order placed" items="3" (int) level="INFO" target="playground::request"
            "answered" level="INFO" status="201" (int) target="playground::request"
          authenticate [internal]
          validate order [internal]
              items="3" (int)
              "the order is valid" items="3" (int) level="INFO" target="playground::request"
          database UPDATE stock [client]
              db.collection.name="stock"
              db.namespace="shop"
              db.operation.name="UPDATE"
              db.query.summary="UPDATE stock"
              db.query.text="UPDATE stock SET reserved = reserved + $1 WHERE item = $2"
              db.system.name="postgresql"
              server.address="database.internal"
              server.port="5432" (int)
          call payments [internal]
              "payments is asked again" cause="service unavailable" level="WARN" resent="0" (int) target="playground::api"
              "payments is asked again" cause="service unavailable" level="WARN" resent="1" (int) target="playground::api"
              "payments answered at last" level="INFO" resent="2" (int) target="playground::api"
            api POST /charges [client] error: service unavailable
                error.type="503"
                http.request.method="POST"
                http.response.status_code="503" (int)
                server.address="payments"
                server.port="443" (int)
                url.full="https://payments/charges"
                url.template="/charges"
            api POST /charges [client] error: service unavailable
                error.type="503"
                http.request.method="POST"
                http.request.resend_count="1" (int)
                http.response.status_code="503" (int)
                server.address="payments"
                server.port="443" (int)
                url.full="https://payments/charges"
                url.template="/charges"
            api POST /charges [client]
                http.request.method="POST"
                http.request.resend_count="2" (int)
                http.response.status_code="201" (int)
                server.address="payments"
                server.port="443" (int)
                url.full="https://payments/charges"
                url.template="/charges"
          database INSERT orders [client]
              db.collection.name="orders"
              db.namespace="shop"
              db.operation.name="INSERT"
              db.query.summary="INSERT orders"
              db.query.text="INSERT INTO orders (customer, item, count) VALUES ($1, $2, $3)"
              db.system.name="postgresql"
              server.address="database.internal"
              server.port="5432" (int)
          call mail [internal]
            api POST /messages [client]
                http.request.method="POST"
                http.response.status_code="202" (int)
                server.address="mail"
                server.port="443" (int)
                url.full="https://mail/messages"
                url.template="/messages"
    "#]].assert_eq(&tree(&store, &order.unwrap().id));
}

#[test]
fn a_query_that_fails_fails_its_request() {
    let store = Store::start();
    let said = Said::by(&mut playground(store.endpoint(), &["--seed", "42"]));
    let order = said
        .traces()
        .into_iter()
        .find(|trace| trace.request == "GET /orders/{id} 500");
    expect![[r#"
        GET /orders/{id} [server] error: deadlock detected
            error.type="500"
            http.request.method="GET"
            http.response.status_code="500" (int)
            http.route="/orders/{id}"
            url.path="/orders/2056"
            url.scheme="https"
            "request" level="INFO" method="GET" path="/orders/2056" target="playground::request"
            "failed" cause="deadlock detected" level="ERROR" status="500" (int) target="playground::request"
          authenticate [internal]
          database SELECT orders [client]
              db.collection.name="orders"
              db.namespace="shop"
              db.operation.name="SELECT"
              db.query.summary="SELECT orders"
              db.query.text="SELECT * FROM orders WHERE id = $1"
              db.response.returned_rows="15" (int)
              db.system.name="postgresql"
              server.address="database.internal"
              server.port="5432" (int)
          database SELECT customers [client] error: deadlock detected
              db.collection.name="customers"
              db.namespace="shop"
              db.operation.name="SELECT"
              db.query.summary="SELECT customers"
              db.query.text="SELECT name, address FROM customers WHERE id = $1"
              db.response.status_code="40P01"
              db.system.name="postgresql"
              error.type="40P01"
              server.address="database.internal"
              server.port="5432" (int)
              "the query failed: deadlock detected" db.response.status_code="40P01" level="ERROR" target="playground::database"
    "#]].assert_eq(&tree(&store, &order.unwrap().id));
}
