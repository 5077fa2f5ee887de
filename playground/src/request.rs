//! What the shop does for each kind of request, in the way a service would be written: functions with `#[instrument]`, and
//! log records where something happens.

use std::time::{Duration, Instant};

use opentelemetry::{
    Context, TraceId,
    trace::{SpanContext, TraceContextExt},
};
use tracing::{Span, error, field::Empty, info, instrument};

use crate::{
    api::{self, Endpoint},
    chance::Chance,
    database::{self, Statement},
    scenario::{Route, Scenario, Trouble},
};

const FIND_ORDER: Statement = Statement {
    operation: "SELECT",
    table: "orders",
    text: "SELECT * FROM orders WHERE id = $1",
    takes: 10..=40,
    warning: None,
};
const FIND_CUSTOMER: Statement = Statement {
    operation: "SELECT",
    table: "customers",
    text: "SELECT name, address FROM customers WHERE id = $1",
    takes: 5..=25,
    warning: None,
};
const RESERVE: Statement = Statement {
    operation: "UPDATE",
    table: "stock",
    text: "UPDATE stock SET reserved = reserved + $1 WHERE item = $2",
    takes: 10..=30,
    warning: None,
};
const ADD_ORDER: Statement = Statement {
    operation: "INSERT",
    table: "orders",
    text: "INSERT INTO orders (customer, item, count) VALUES ($1, $2, $3)",
    takes: 10..=30,
    warning: None,
};
const SUM_UP: Statement = Statement {
    operation: "SELECT",
    table: "sales",
    text: "SELECT item, sum(price) FROM sales WHERE sold > $1 GROUP BY item",
    takes: 1200..=1800,
    warning: Some("sales.sold has no index, so every row is read"),
};
const CHARGE: Endpoint = Endpoint {
    host: "payments",
    method: "POST",
    template: "/charges",
    takes: 40..=120,
    status: 201,
};
const NOTIFY: Endpoint = Endpoint {
    host: "mail",
    method: "POST",
    template: "/messages",
    takes: 20..=50,
    status: 202,
};
const ASK_PRICE: Endpoint = Endpoint {
    host: "exchange",
    method: "GET",
    template: "/prices/{symbol}",
    takes: 20..=80,
    status: 200,
};

/// Why a request fails, as the shop's client gets to know it, and as the log does.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) cause: String,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) route: Route,
    pub(crate) status: u16,
    /// None if it was not traced, or its trace not sampled.
    pub(crate) trace: Option<TraceId>,
    pub(crate) span: SpanContext,
    /// How often calls were repeated.
    pub(crate) resent: i64,
    pub(crate) took: Duration,
}

impl Done {
    pub(crate) fn uses_database(&self) -> bool {
        self.route != Route::Quote
    }

    pub(crate) fn failed(&self) -> bool {
        self.status >= 500
    }

    /// Whether any of its spans has failed.
    pub(crate) fn has_errors(&self) -> bool {
        self.failed() || self.resent > 0
    }
}

/// Plays one request from its beginning to its end.
pub(crate) async fn play(scenario: Scenario, mut chance: Chance) -> Done {
    let begun = Instant::now();
    let mut done = Done {
        route: scenario.route,
        status: 0,
        trace: None,
        span: SpanContext::NONE,
        resent: 0,
        took: Duration::ZERO,
    };
    let number = chance.number(1000..=9999);
    serve(scenario, number, &mut chance, &mut done).await;
    done.took = begun.elapsed();
    done
}

/// The span of the server, <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server>.
#[instrument(name = "request", skip_all, fields(
    otel.name = format!("{} {}", scenario.route.method(), scenario.route.template()),
    otel.kind = "server",
    otel.status_code = Empty,
    otel.status_description = Empty,
    http.request.method = scenario.route.method(),
    http.response.status_code = Empty,
    http.route = scenario.route.template(),
    error.type = Empty,
    url.path = path(scenario.route, number),
    url.scheme = "https",
))]
async fn serve(scenario: Scenario, number: i64, chance: &mut Chance, done: &mut Done) {
    done.span = Context::map_current(|cx| cx.span().span_context().clone());
    done.trace = done.span.is_sampled().then(|| done.span.trace_id());
    info!(
        method = scenario.route.method(),
        path = path(scenario.route, number),
        "request"
    );
    let Scenario { route, trouble } = scenario;
    let answered = match route {
        Route::Order => show_order(number, trouble, chance).await,
        Route::PlaceOrder => place_order(trouble, chance).await,
        Route::Quote => quote(trouble, chance).await,
        Route::Report => report(chance).await,
    };
    let span = Span::current();
    match answered {
        Ok(answer) => {
            done.status = answer.status;
            done.resent = answer.resent;
            info!(status = i64::from(answer.status), "answered");
        }
        Err(failure) => {
            done.status = failure.status;
            if failure.status == 502 {
                done.resent = api::ATTEMPTS - 1;
            }
            span.record("error.type", failure.status.to_string());
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", &failure.cause);
            error!(
                status = i64::from(failure.status),
                cause = failure.cause,
                "failed"
            );
        }
    }
    span.record("http.response.status_code", i64::from(done.status));
}

struct Answer {
    status: u16,
    resent: i64,
}

async fn show_order(order: i64, trouble: Trouble, chance: &mut Chance) -> Result<Answer, Failure> {
    authenticate(chance).await;
    database::query(&FIND_ORDER, false, chance).await?;
    database::query(&FIND_CUSTOMER, trouble == Trouble::Failing, chance).await?;
    render("order", chance).await;
    info!(order, "shown");
    Ok(Answer {
        status: 200,
        resent: 0,
    })
}

async fn place_order(trouble: Trouble, chance: &mut Chance) -> Result<Answer, Failure> {
    authenticate(chance).await;
    let items = chance.number(1..=5);
    validate(items, chance).await;
    database::query(&RESERVE, false, chance).await?;
    let resent = api::call(&CHARGE, trouble, chance).await?;
    database::query(&ADD_ORDER, false, chance).await?;
    api::call(&NOTIFY, Trouble::None, chance).await?;
    info!(items, "order placed");
    Ok(Answer {
        status: 201,
        resent,
    })
}

async fn quote(trouble: Trouble, chance: &mut Chance) -> Result<Answer, Failure> {
    authenticate(chance).await;
    let resent = api::call(&ASK_PRICE, trouble, chance).await?;
    render("quote", chance).await;
    Ok(Answer {
        status: 200,
        resent,
    })
}

async fn report(chance: &mut Chance) -> Result<Answer, Failure> {
    authenticate(chance).await;
    let rows = database::query(&SUM_UP, false, chance).await?;
    render("report", chance).await;
    info!(rows, "the report is ready");
    Ok(Answer {
        status: 200,
        resent: 0,
    })
}

#[instrument(name = "authenticate", skip_all)]
async fn authenticate(chance: &mut Chance) {
    chance.work(1..=5).await;
}

#[instrument(name = "validate order", skip(chance))]
async fn validate(items: i64, chance: &mut Chance) {
    chance.work(1..=4).await;
    info!(items, "the order is valid");
}

#[instrument(name = "render", skip(chance))]
async fn render(page: &'static str, chance: &mut Chance) {
    chance.work(5..=15).await;
}

fn path(route: Route, number: i64) -> String {
    match route {
        Route::Order => format!("/orders/{number}"),
        Route::Quote => "/quotes/RUST".to_owned(),
        Route::PlaceOrder | Route::Report => route.template().to_owned(),
    }
}
