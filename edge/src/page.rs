//! The page that a visitor gets when the edge answers itself.

use hyper::StatusCode;
use hyper::body::Bytes;

/// Says what happened, and to which service if there is one.
///
/// Both texts are the edge's own, never the client's: nothing is escaped.
pub(crate) fn render(status: StatusCode, service: Option<&str>, what: &str) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let service = match service {
        Some(name) => format!("<strong>{name}</strong> "),
        None => String::new(),
    };
    let page = format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <meta charset=\"utf-8\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{code} {reason}</title>\n\
         <h1>{code} {reason}</h1>\n\
         <p>{service}{what}.</p>\n\
         </html>\n"
    );
    Bytes::from(page)
}
