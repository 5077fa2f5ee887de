//! The layers, around real servers and clients on real sockets: what arrives is compared as whole trees of spans.

mod axum;
mod broken;
mod client;
pub(crate) mod collected;
mod grpc;
mod hyper;
pub(crate) mod serving;
