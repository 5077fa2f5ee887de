//! What clients send, by the propagators of whoever receives it.

/// The client's trace, 32 digits.
pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The client's span, 16 digits.
pub(crate) const SPAN: &str = "00f067aa0ba902b7";
/// The trace that a second header tells of.
pub(crate) const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";
/// The span that a second header tells of.
pub(crate) const OTHER_SPAN: &str = "b7ad6b7169203331";

/// Cases that are tried on processes with the same `OTEL_PROPAGATORS`.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) propagators: &'static str,
    /// Headers that are looked at behind a service, in the order of the page.
    pub(crate) headers: &'static [&'static str],
    pub(crate) cases: Vec<Case>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) sent: Vec<(&'static str, String)>,
}

/// Headers with `{T}`, `{S}`, `{T2}` and `{S2}` for the ids above.
fn case(what: &'static str, sent: &[(&'static str, &str)]) -> Case {
    let filled = |value: &str| {
        value
            .replace("{T}", TRACE)
            .replace("{S}", SPAN)
            .replace("{T2}", OTHER)
            .replace("{S2}", OTHER_SPAN)
    };
    let sent = sent.iter().map(|(name, value)| (*name, filled(value)));
    Case {
        what,
        sent: sent.collect(),
    }
}

pub(crate) fn groups() -> Vec<Group> {
    vec![
        Group {
            propagators: "jaeger",
            headers: &["uber-trace-id", "uberctx-user"],
            cases: uber_trace_id(),
        },
        Group {
            propagators: "tracecontext",
            headers: &["traceparent", "tracestate", "uberctx-user"],
            cases: traceparent(),
        },
        Group {
            propagators: "b3",
            headers: &["b3", "uberctx-user"],
            cases: b3(),
        },
        Group {
            propagators: "b3multi",
            headers: &[
                "x-b3-traceid",
                "x-b3-spanid",
                "x-b3-sampled",
                "x-b3-flags",
                "uberctx-user",
            ],
            cases: b3_multi(),
        },
        Group {
            propagators: "tracecontext,baggage",
            headers: &["traceparent", "baggage"],
            cases: baggage(),
        },
        Group {
            propagators: "jaeger,baggage",
            headers: &["uber-trace-id", "uberctx-user", "baggage"],
            cases: both_baggages(),
        },
        Group {
            propagators: "baggage,jaeger",
            headers: &["uber-trace-id", "uberctx-user", "baggage"],
            cases: both_baggages(),
        },
        Group {
            propagators: "jaeger,tracecontext",
            headers: &["uber-trace-id", "traceparent"],
            cases: disagreements(),
        },
        Group {
            propagators: "tracecontext,jaeger",
            headers: &["uber-trace-id", "traceparent"],
            cases: disagreements(),
        },
        Group {
            propagators: "b3,tracecontext",
            headers: &["b3", "traceparent"],
            cases: b3_disagreements(),
        },
        Group {
            propagators: "tracecontext,b3multi",
            headers: &["x-b3-traceid", "traceparent"],
            cases: b3_disagreements(),
        },
        Group {
            propagators: "b3,b3multi",
            headers: &["b3", "x-b3-traceid"],
            cases: b3_disagreements(),
        },
        Group {
            propagators: "jaeger,b3",
            headers: &["uber-trace-id", "b3"],
            cases: jaeger_and_b3(&B3),
        },
        Group {
            propagators: "b3,jaeger",
            headers: &["uber-trace-id", "b3"],
            cases: jaeger_and_b3(&B3),
        },
        Group {
            propagators: "jaeger,b3multi",
            headers: &[
                "uber-trace-id",
                "x-b3-traceid",
                "x-b3-sampled",
                "x-b3-flags",
            ],
            cases: jaeger_and_b3(&B3_MULTI),
        },
        Group {
            propagators: "b3multi,jaeger",
            headers: &[
                "uber-trace-id",
                "x-b3-traceid",
                "x-b3-sampled",
                "x-b3-flags",
            ],
            cases: jaeger_and_b3(&B3_MULTI),
        },
    ]
}

fn uber_trace_id() -> Vec<Case> {
    let one = |what, value| case(what, &[("uber-trace-id", value)]);
    vec![
        case("nothing", &[]),
        one("128 bits", "{T}:{S}:0:1"),
        one("not sampled", "{T}:{S}:0:0"),
        one("64 bits", "a3ce929d0e0e4736:{S}:0:1"),
        one(
            "leading zeros",
            "000000000000004d0000000000000016:0000000000017c29:0:1",
        ),
        one("short", "4d0000000000000016:17c29:0:1"),
        one(
            "upper case",
            "4BF92F3577B34DA6A3CE929D0E0E4736:00F067AA0BA902B7:0:1",
        ),
        one("%3A", "{T}%3A{S}%3A0%3A1"),
        one("%3a", "{T}%3a{S}%3a0%3a1"),
        one("debug", "{T}:{S}:0:3"),
        one("debug, not sampled", "{T}:{S}:0:2"),
        one("hex flags", "{T}:{S}:0:0b"),
        one("hex flags, sixteen", "{T}:{S}:0:10"),
        one("malformed id", "{T}x:{S}:0:1"),
        one("malformed flags", "{T}:{S}:0:-1"),
        one("three fields", "{T}:{S}:1"),
        one("colons only", ":::"),
        one("trace id of zero", "0:{S}:0:1"),
        one("span id of zero", "{T}:0:0:1"),
        case(
            "duplicate header",
            &[
                ("uber-trace-id", "{T}:{S}:0:1"),
                ("uber-trace-id", "{T}:{S}:0:1"),
            ],
        ),
        case(
            "uberctx",
            &[("uber-trace-id", "{T}:{S}:0:1"), ("uberctx-user", "bob")],
        ),
        case(
            "uberctx with =",
            &[("uber-trace-id", "{T}:{S}:0:1"), ("uberctx-user", "a=b")],
        ),
        case(
            "uberctx with ,",
            &[("uber-trace-id", "{T}:{S}:0:1"), ("uberctx-user", "a,b")],
        ),
        case("uberctx alone", &[("uberctx-user", "bob")]),
    ]
}

fn traceparent() -> Vec<Case> {
    let one = |what, value| case(what, &[("traceparent", value)]);
    vec![
        case("nothing", &[]),
        one("128 bits", "00-{T}-{S}-01"),
        one("not sampled", "00-{T}-{S}-00"),
        one(
            "64 bits, padded",
            "00-0000000000000000a3ce929d0e0e4736-{S}-01",
        ),
        one("64 bits", "00-a3ce929d0e0e4736-{S}-01"),
        one(
            "leading zeros",
            "00-000000000000004d0000000000000016-0000000000017c29-01",
        ),
        one("short", "00-bf92f3577b34da6a3ce929d0e0e4736-{S}-01"),
        one("upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-{S}-01"),
        one("%2D", "00%2D{T}%2D{S}%2D01"),
        one("random flag", "00-{T}-{S}-03"),
        one("hex flags", "00-{T}-{S}-ff"),
        one("later version", "cc-{T}-{S}-01-what-comes"),
        one("version ff", "ff-{T}-{S}-01"),
        one("malformed id", "00-{T}x-{S}-01"),
        one("malformed flags", "00-{T}-{S}-1"),
        one(
            "sign in an id",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-{S}-01",
        ),
        one(
            "trace id of zero",
            "00-00000000000000000000000000000000-{S}-01",
        ),
        one("span id of zero", "00-{T}-0000000000000000-01"),
        case(
            "duplicate header",
            &[
                ("traceparent", "00-{T}-{S}-01"),
                ("traceparent", "00-{T}-{S}-01"),
            ],
        ),
        case(
            "tracestate",
            &[("traceparent", "00-{T}-{S}-01"), ("tracestate", "a=1,b=2")],
        ),
        case(
            "malformed tracestate",
            &[
                ("traceparent", "00-{T}-{S}-01"),
                ("tracestate", "no member"),
            ],
        ),
        case(
            "uberctx with =",
            &[("traceparent", "00-{T}-{S}-01"), ("uberctx-user", "a=b")],
        ),
        case(
            "uberctx with ,",
            &[("traceparent", "00-{T}-{S}-01"), ("uberctx-user", "a,b")],
        ),
    ]
}

fn b3() -> Vec<Case> {
    let one = |what, value| case(what, &[("b3", value)]);
    vec![
        case("nothing", &[]),
        one("128 bits", "{T}-{S}-1"),
        one("not sampled", "{T}-{S}-0"),
        one("no decision", "{T}-{S}"),
        one("with a parent", "{T}-{S}-1-{S2}"),
        one("64 bits", "a3ce929d0e0e4736-{S}-1"),
        one(
            "leading zeros",
            "000000000000004d0000000000000016-0000000000017c29-1",
        ),
        one("short", "4d0000000000000016-17c29-1"),
        one(
            "upper case",
            "4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-1",
        ),
        one("%2D", "{T}%2D{S}%2D1"),
        one("debug", "{T}-{S}-d"),
        one("hex flags", "{T}-{S}-f"),
        one("decision alone", "0"),
        one("malformed id", "{T}x-{S}-1"),
        one("trace id of zero", "00000000000000000000000000000000-{S}-1"),
        one("span id of zero", "{T}-0000000000000000-1"),
        case(
            "duplicate header",
            &[("b3", "{T}-{S}-1"), ("b3", "{T}-{S}-1")],
        ),
        case(
            "uberctx with =",
            &[("b3", "{T}-{S}-1"), ("uberctx-user", "a=b")],
        ),
        case(
            "uberctx with ,",
            &[("b3", "{T}-{S}-1"), ("uberctx-user", "a,b")],
        ),
    ]
}

fn b3_multi() -> Vec<Case> {
    let ids = |what, trace, span, sampled: &[(&'static str, &str)]| {
        let ids = [("x-b3-traceid", trace), ("x-b3-spanid", span)];
        case(what, &[&ids, sampled].concat())
    };
    let yes = [("x-b3-sampled", "1")];
    vec![
        case("nothing", &[]),
        ids("128 bits", "{T}", "{S}", &yes),
        ids("not sampled", "{T}", "{S}", &[("x-b3-sampled", "0")]),
        ids("no decision", "{T}", "{S}", &[]),
        ids("64 bits", "a3ce929d0e0e4736", "{S}", &yes),
        ids(
            "leading zeros",
            "000000000000004d0000000000000016",
            "0000000000017c29",
            &yes,
        ),
        ids("short", "4d0000000000000016", "17c29", &yes),
        ids(
            "upper case",
            "4BF92F3577B34DA6A3CE929D0E0E4736",
            "00F067AA0BA902B7",
            &yes,
        ),
        ids("%31", "{T}", "{S}", &[("x-b3-sampled", "%31")]),
        ids("debug flag", "{T}", "{S}", &[("x-b3-flags", "1")]),
        ids("hex flags", "{T}", "{S}", &[("x-b3-flags", "f")]),
        ids(
            "sampled in a word",
            "{T}",
            "{S}",
            &[("x-b3-sampled", "true")],
        ),
        ids("malformed id", "{T}x", "{S}", &yes),
        ids("malformed decision", "{T}", "{S}", &[("x-b3-sampled", "x")]),
        case(
            "trace id alone",
            &[("x-b3-traceid", "{T}"), ("x-b3-sampled", "1")],
        ),
        ids(
            "trace id of zero",
            "00000000000000000000000000000000",
            "{S}",
            &yes,
        ),
        ids("span id of zero", "{T}", "0000000000000000", &yes),
        ids(
            "uberctx with =",
            "{T}",
            "{S}",
            &[("x-b3-sampled", "1"), ("uberctx-user", "a=b")],
        ),
        ids(
            "uberctx with ,",
            "{T}",
            "{S}",
            &[("x-b3-sampled", "1"), ("uberctx-user", "a,b")],
        ),
        case(
            "duplicate header",
            &[
                ("x-b3-traceid", "{T}"),
                ("x-b3-traceid", "{T}"),
                ("x-b3-spanid", "{S}"),
                ("x-b3-sampled", "1"),
            ],
        ),
    ]
}

fn baggage() -> Vec<Case> {
    let with = |what, baggage| {
        case(
            what,
            &[("traceparent", "00-{T}-{S}-01"), ("baggage", baggage)],
        )
    };
    vec![
        with("one entry", "user=bob"),
        with("two entries", "user=bob, tier=gold"),
        with("escapes", "user=b%20o%3Db"),
        with("an escaped comma", "user=a%2Cb"),
        with("= in a value", "user=a=b"),
        with("one key twice", "user=bob,user=eve"),
        with("properties", "user=bob;since=2024"),
        with("malformed", "user"),
        with("a line end in a value", "user=bob%0d%0ax:y"),
        with("no text", "user=%ff"),
        case(
            "duplicate header",
            &[
                ("traceparent", "00-{T}-{S}-01"),
                ("baggage", "user=bob"),
                ("baggage", "tier=gold"),
            ],
        ),
        case("alone", &[("baggage", "user=bob")]),
        case(
            "beside a malformed parent",
            &[("traceparent", "00-{T}x-{S}-01"), ("baggage", "user=bob")],
        ),
    ]
}

fn disagreements() -> Vec<Case> {
    vec![
        case(
            "two formats that disagree",
            &[
                ("uber-trace-id", "{T}:{S}:0:1"),
                ("traceparent", "00-{T2}-{S2}-01"),
            ],
        ),
        case(
            "two formats, one with debug",
            &[
                ("uber-trace-id", "{T}:{S}:0:3"),
                ("traceparent", "00-{T2}-{S2}-01"),
            ],
        ),
        case(
            "two formats, one malformed",
            &[
                ("uber-trace-id", "{T}:{S}:0:1"),
                ("traceparent", "00-{T2}x-{S2}-01"),
            ],
        ),
        case(
            "two formats, the other malformed",
            &[
                ("uber-trace-id", "{T}x:{S}:0:1"),
                ("traceparent", "00-{T2}-{S2}-01"),
            ],
        ),
        case(
            "two formats, one not sampled",
            &[
                ("uber-trace-id", "{T}:{S}:0:0"),
                ("traceparent", "00-{T2}-{S2}-01"),
            ],
        ),
    ]
}

fn b3_disagreements() -> Vec<Case> {
    vec![
        case(
            "two formats that disagree",
            &[("b3", "{T}-{S}-1"), ("traceparent", "00-{T2}-{S2}-01")],
        ),
        case(
            "both forms of B3, which disagree",
            &[
                ("b3", "{T}-{S}-1"),
                ("x-b3-traceid", "{T2}"),
                ("x-b3-spanid", "{S2}"),
                ("x-b3-sampled", "1"),
            ],
        ),
        case(
            "the several headers of B3 alone",
            &[
                ("x-b3-traceid", "{T2}"),
                ("x-b3-spanid", "{S2}"),
                ("x-b3-sampled", "1"),
            ],
        ),
    ]
}

fn both_baggages() -> Vec<Case> {
    let with = |what, more: &[(&'static str, &str)]| {
        let id = [("uber-trace-id", "{T}:{S}:0:1")];
        case(what, &[&id, more].concat())
    };
    vec![
        with("uberctx", &[("uberctx-user", "bob")]),
        with("uberctx with =", &[("uberctx-user", "a=b")]),
        with("uberctx with ,", &[("uberctx-user", "a,b")]),
        with("baggage", &[("baggage", "user=bob")]),
        with("baggage with escapes", &[("baggage", "user=a%2Cb%3Dc")]),
        with(
            "both, which agree",
            &[("uberctx-user", "bob"), ("baggage", "user=bob")],
        ),
        with(
            "both, which disagree",
            &[("uberctx-user", "bob"), ("baggage", "user=eve")],
        ),
        with(
            "both, of different things",
            &[("uberctx-user", "bob"), ("baggage", "tier=gold")],
        ),
        with(
            "both, the baggage malformed",
            &[("uberctx-user", "bob"), ("baggage", "user")],
        ),
        with(
            "both, the uberctx malformed",
            &[("uberctx-user", "%ff"), ("baggage", "user=eve")],
        ),
        with(
            "uberctx twice",
            &[("uberctx-user", "bob"), ("uberctx-user", "eve")],
        ),
        case(
            "both beside a malformed id",
            &[
                ("uber-trace-id", "{T}x:{S}:0:1"),
                ("uberctx-user", "bob"),
                ("baggage", "tier=gold"),
            ],
        ),
    ]
}

/// B3 with the second trace: as it is, with debug, not sampled, malformed.
struct OfB3 {
    good: &'static [(&'static str, &'static str)],
    debug: &'static [(&'static str, &'static str)],
    not_sampled: &'static [(&'static str, &'static str)],
    malformed: &'static [(&'static str, &'static str)],
}

const B3: OfB3 = OfB3 {
    good: &[("b3", "{T2}-{S2}-1")],
    debug: &[("b3", "{T2}-{S2}-d")],
    not_sampled: &[("b3", "{T2}-{S2}-0")],
    malformed: &[("b3", "{T2}x-{S2}-1")],
};

const B3_MULTI: OfB3 = OfB3 {
    good: &[
        ("x-b3-traceid", "{T2}"),
        ("x-b3-spanid", "{S2}"),
        ("x-b3-sampled", "1"),
    ],
    debug: &[
        ("x-b3-traceid", "{T2}"),
        ("x-b3-spanid", "{S2}"),
        ("x-b3-flags", "1"),
    ],
    not_sampled: &[
        ("x-b3-traceid", "{T2}"),
        ("x-b3-spanid", "{S2}"),
        ("x-b3-sampled", "0"),
    ],
    malformed: &[
        ("x-b3-traceid", "{T2}x"),
        ("x-b3-spanid", "{S2}"),
        ("x-b3-sampled", "1"),
    ],
};

fn jaeger_and_b3(b3: &OfB3) -> Vec<Case> {
    let both = |what, jaeger, b3: &[(&'static str, &str)]| {
        case(what, &[&[("uber-trace-id", jaeger)], b3].concat())
    };
    let good = "{T}:{S}:0:1";
    vec![
        both("two formats that disagree", good, b3.good),
        both("two formats, Jaeger with debug", "{T}:{S}:0:3", b3.good),
        both("two formats, B3 with debug", good, b3.debug),
        both("two formats, Jaeger not sampled", "{T}:{S}:0:0", b3.good),
        both("two formats, B3 not sampled", good, b3.not_sampled),
        both("two formats, Jaeger malformed", "{T}x:{S}:0:1", b3.good),
        both("two formats, B3 malformed", good, b3.malformed),
        case("Jaeger alone", &[("uber-trace-id", good)]),
        case("B3 alone", b3.good),
    ]
}
