//! What a request asks for by name, in an address of any length.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use crate::serve::Rest;

/// The pairs of a query string, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> Result<Parameters, (StatusCode, &'static str)> {
        let shown = parts.uri.query().unwrap_or_default();
        let Some(rest) = parts.extensions.remove::<Rest>() else {
            return Ok(Parameters::parse(shown.as_bytes()));
        };
        let parameters = Parameters::parse(&[shown.as_bytes(), rest.bytes()].concat());
        // Whoever parses such a query says where it is too long.
        let is_refused =
            |(name, value): &(String, String)| name == "q" && value.len() > traceql::MAX_LEN;
        match rest.is_whole() || parameters.0.iter().any(is_refused) {
            true => Ok(parameters),
            false => Err((StatusCode::URI_TOO_LONG, "the address is too long")),
        }
    }
}

/// Of a repeated parameter the first counts, and an empty one is not there, as in Tempo.
pub(crate) fn given<'a>(parameters: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let (_, value) = parameters.iter().find(|(name, _)| name == wanted)?;
    (!value.is_empty()).then_some(value)
}

impl Parameters {
    fn parse(query: &[u8]) -> Parameters {
        Parameters(form_urlencoded::parse(query).into_owned().collect())
    }
}
