//! Finds the two ends of each call: the span of the client and the one of the server, which come in any order, from
//! different senders, or never.

use std::{
    borrow::Cow,
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::DefaultHashBuilder;

use super::{
    halves::{Halves, Met},
    series::{Histogram, Labels, Limits, Series},
    text::{self, Service},
};
use crate::span::{KeyValue, Kind, Span, SpanId, StatusCode, TraceId, Value};

/// In seconds.
pub(super) const BOUNDS: [f64; 8] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];

const LIMITS: Limits = Limits {
    rows: 2000,
    bytes: 1 << 18,
};

/// How long one end of a call waits for the other.
const WAIT: Duration = Duration::from_secs(10);

/// Memory for ends that wait. Beyond it the oldest is dropped, whose other end is the least likely to come.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// Whom a server was called by that began its trace.
const USER: &str = "user";

/// Calls between services.
pub(super) struct Edges {
    pub(super) series: Series<EdgeLabels, EdgeCounts>,
    pub(super) halves: Halves,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Connection {
    #[default]
    Direct,
    MessagingSystem,
    Database,
    /// One end does not send spans.
    VirtualNode,
}

/// Who calls whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Edge<'a> {
    client: &'a str,
    server: &'a str,
    connection: Connection,
}

/// The same, free of what it was read from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EdgeLabels {
    pub(super) client: Box<str>,
    pub(super) server: Box<str>,
    pub(super) connection: Connection,
}

#[derive(Clone, Default)]
pub(super) struct EdgeCounts {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) client_seconds: Histogram<{ BOUNDS.len() + 1 }>,
    pub(super) server_seconds: Histogram<{ BOUNDS.len() + 1 }>,
    /// Ends whose other end never came, and of which nothing tells what it might have been.
    pub(super) unpaired: u64,
    /// Ends that had to make room before their time.
    pub(super) dropped: u64,
}

/// What a span tells of the call that it is an end of.
pub(super) struct Side<'a> {
    trace: TraceId,
    /// The client's span; none if a server began the trace.
    client: Option<SpanId>,
    is_client: bool,
    is_messaging: bool,
    service: &'a Service<'a>,
    seconds: f64,
    failed: bool,
    /// Whoever is at the other end, in the words of this one.
    peer: Option<Cow<'a, str>>,
    /// The server, if it is a database.
    database: Option<Cow<'a, str>>,
}

/// The ends of a call that are known so far.
#[derive(Default)]
pub(super) struct Half {
    client: Option<Arc<str>>,
    server: Option<Arc<str>>,
    connection: Connection,
    outcome: Outcome,
    peer: Option<Box<str>>,
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    client_seconds: f64,
    server_seconds: f64,
    failed: bool,
}

/// The attributes that name who is at the other end; the first of each name.
#[derive(Clone, Copy, Default)]
pub(super) struct Peers<'a> {
    db_namespace: Option<&'a Value<'a>>,
    db_name: Option<&'a Value<'a>>,
    db_system: Option<&'a Value<'a>>,
    peer_service: Option<&'a Value<'a>>,
    server_address: Option<&'a Value<'a>>,
    network_peer_address: Option<&'a Value<'a>>,
    network_peer_port: Option<&'a Value<'a>>,
}

impl<'a> Peers<'a> {
    pub(super) fn with(mut self, attributes: &'a [KeyValue<'a>]) -> Peers<'a> {
        for attribute in attributes {
            // <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>
            let place = match &*attribute.key {
                "db.namespace" => &mut self.db_namespace,
                "db.name" => &mut self.db_name,
                "db.system" => &mut self.db_system,
                "peer.service" => &mut self.peer_service,
                "server.address" => &mut self.server_address,
                "network.peer.address" => &mut self.network_peer_address,
                "network.peer.port" => &mut self.network_peer_port,
                _ => continue,
            };
            place.get_or_insert(&attribute.value);
        }
        self
    }

    fn or(&self, other: &Peers<'a>) -> Peers<'a> {
        Peers {
            db_namespace: self.db_namespace.or(other.db_namespace),
            db_name: self.db_name.or(other.db_name),
            db_system: self.db_system.or(other.db_system),
            peer_service: self.peer_service.or(other.peer_service),
            server_address: self.server_address.or(other.server_address),
            network_peer_address: self.network_peer_address.or(other.network_peer_address),
            network_peer_port: self.network_peer_port.or(other.network_peer_port),
        }
    }

    fn peer(&self) -> Option<Cow<'a, str>> {
        let named = self.peer_service.or(self.db_name).or(self.db_system);
        named.map(text::shown)
    }

    /// Empty if it is a database without a name.
    fn database(&self) -> Option<Cow<'a, str>> {
        let name = self.db_namespace.or(self.db_name).or(self.db_system)?;
        if let Some(server) = self.peer_service.or(self.server_address) {
            return Some(text::shown(server));
        }
        let Some(address) = self.network_peer_address else {
            return Some(text::shown(name));
        };
        let address = text::shown(address);
        let Some(port) = self.network_peer_port else {
            return Some(address);
        };
        let server = format!("{address}:{}", text::shown(port));
        Some(Cow::Owned(text::cut(&server).to_owned()))
    }
}

impl<'a> Side<'a> {
    /// `None` if the span is no end of a call, or its resource has no service.
    pub(super) fn of(
        trace: TraceId,
        span: &'a Span<'_>,
        seconds: f64,
        service: &'a Service<'a>,
        of_resource: &Peers<'a>,
    ) -> Option<Side<'a>> {
        let is_client = match span.kind {
            Kind::Client | Kind::Producer => true,
            Kind::Server | Kind::Consumer => false,
            Kind::Unspecified | Kind::Internal => return None,
        };
        if !service.has_name() {
            return None;
        }
        let of_span = Peers::default().with(&span.attributes);
        let peer = of_span.peer();
        let database = match is_client {
            true => of_resource.or(&of_span).database(),
            false => None,
        };
        Some(Side {
            trace,
            client: if is_client {
                Some(span.id)
            } else {
                span.parent
            },
            is_client,
            is_messaging: matches!(span.kind, Kind::Producer | Kind::Consumer),
            service,
            seconds,
            failed: span.status.code == StatusCode::Error,
            peer,
            database,
        })
    }
}

impl Half {
    /// What came last counts, but a failure of either end is a failure.
    fn add(&mut self, side: &Side<'_>) {
        self.connection = match side.is_messaging {
            true => Connection::MessagingSystem,
            false => Connection::Direct,
        };
        let service = Some(side.service.shared()).filter(|name| !name.is_empty());
        if side.is_client {
            self.client = service;
            self.outcome.client_seconds = side.seconds;
        } else {
            self.server = service;
            self.outcome.server_seconds = side.seconds;
        }
        self.outcome.failed |= side.failed;
        if let Some(peer) = &side.peer {
            self.peer = Some(Box::from(&**peer));
        }
        if let Some(database) = &side.database {
            self.connection = Connection::Database;
            self.outcome.server_seconds = side.seconds;
            if !database.is_empty() {
                self.server = Some(Arc::from(&**database));
            }
        }
    }

    fn edge(&self) -> Edge<'_> {
        Edge {
            client: self.client.as_deref().unwrap_or_default(),
            server: self.server.as_deref().unwrap_or_default(),
            connection: self.connection,
        }
    }

    fn is_complete(&self) -> bool {
        self.client.is_some() && self.server.is_some()
    }

    pub(super) fn text_bytes(&self) -> usize {
        let Edge { client, server, .. } = self.edge();
        let peer = self.peer.as_deref().unwrap_or_default();
        client.len() + server.len() + peer.len()
    }
}

impl Edges {
    pub(super) fn new(hasher: DefaultHashBuilder, now: Instant) -> Edges {
        Edges {
            series: Series::new(LIMITS, hasher.clone(), now),
            halves: Halves::new(hasher.clone()),
            hasher,
        }
    }

    pub(super) fn add(&mut self, side: Side<'_>, now: Instant) {
        let Some(client) = side.client else {
            return self.count_visit(&side, now);
        };
        let key = (side.trace, client);
        let met = self.halves.meet(&key, |half| {
            half.add(&side);
            !half.is_complete()
        });
        let hash = match met {
            Met::Nobody(hash) => hash,
            Met::Waits => return,
            Met::Done(half) => return self.count(half.edge(), half.outcome, now),
        };
        let name = side.service.name();
        let database = side.database.as_deref().unwrap_or_default();
        if !name.is_empty() && !database.is_empty() {
            let edge = Edge {
                client: name,
                server: database,
                connection: Connection::Database,
            };
            let outcome = Outcome {
                client_seconds: side.seconds,
                server_seconds: side.seconds,
                failed: side.failed,
            };
            return self.count(edge, outcome, now);
        }
        let mut half = Half::default();
        half.add(&side);
        self.halves.wait(key, hash, half, now + WAIT);
        while self.halves.bytes() > MAX_WAITING_BYTES
            && let Some(half) = self.halves.oldest()
        {
            self.row(half.edge(), now).dropped += 1;
        }
    }

    /// Counts the ends that waited in vain: for a client that names its peer, that peer is the other one.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(half) = self.halves.expired(now) {
            let peer = half.peer.as_deref().unwrap_or_default();
            if half.client.is_some() && half.server.is_none() && !peer.is_empty() {
                let edge = Edge {
                    server: peer,
                    connection: Connection::VirtualNode,
                    ..half.edge()
                };
                self.count(edge, half.outcome, now);
            } else {
                self.row(half.edge(), now).unpaired += 1;
            }
        }
    }

    /// A server that began its trace has no other end to wait for.
    fn count_visit(&mut self, side: &Side<'_>, now: Instant) {
        let peer = side.peer.as_deref().filter(|peer| !peer.is_empty());
        let edge = Edge {
            client: peer.unwrap_or(USER),
            server: side.service.name(),
            connection: Connection::VirtualNode,
        };
        let outcome = Outcome {
            client_seconds: 0.0,
            server_seconds: side.seconds,
            failed: side.failed,
        };
        self.count(edge, outcome, now);
    }

    fn count(&mut self, edge: Edge<'_>, outcome: Outcome, now: Instant) {
        let counts = self.row(edge, now);
        counts.requests += 1;
        counts.failed += u64::from(outcome.failed);
        counts
            .client_seconds
            .observe(&BOUNDS, outcome.client_seconds);
        counts
            .server_seconds
            .observe(&BOUNDS, outcome.server_seconds);
    }

    fn row(&mut self, edge: Edge<'_>, now: Instant) -> &mut EdgeCounts {
        let is = |labels: &EdgeLabels| labels.edge() == edge;
        let labels = || EdgeLabels {
            client: edge.client.into(),
            server: edge.server.into(),
            connection: edge.connection,
        };
        let hash = self.hasher.hash_one(edge);
        self.series.row(hash, now, is, labels)
    }
}

impl Connection {
    /// As the label says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Connection::Direct => "",
            Connection::MessagingSystem => "messaging_system",
            Connection::Database => "database",
            Connection::VirtualNode => "virtual_node",
        }
    }
}

impl EdgeLabels {
    fn edge(&self) -> Edge<'_> {
        Edge {
            client: &self.client,
            server: &self.server,
            connection: self.connection,
        }
    }
}

impl Labels for EdgeLabels {
    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one(self.edge())
    }

    fn bytes(&self) -> usize {
        self.client.len() + self.server.len()
    }
}
