//! Connects to an upstream, and where that fails to the next of its addresses.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use crate::route::Routes;

/// Whoever asks for the first address of an upstream may get a connection to another one.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    routes: Routes,
}

impl Connector {
    /// With a limit for each attempt.
    pub(crate) fn new(routes: &Routes, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        Self {
            tcp,
            routes: routes.clone(),
        }
    }

    /// One that fails where the first address does.
    pub(crate) fn without_others(&self) -> Self {
        Self {
            tcp: self.tcp.clone(),
            routes: Routes::none(),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, first: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let others = first
            .authority()
            .map_or_else(Vec::new, |authority| self.routes.others(authority));
        Box::pin(async move {
            let mut connected = tcp.call(first).await;
            for other in others {
                if connected.is_ok() {
                    break;
                }
                let other = Uri::builder()
                    .scheme(Scheme::HTTP)
                    .authority(other)
                    .path_and_query(PathAndQuery::from_static("/"));
                let other = other
                    .build()
                    .expect("it has a scheme, an authority and a path");
                connected = tcp.call(other).await;
            }
            connected
        })
    }
}
