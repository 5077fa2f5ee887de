//! URLs as spans may show them: without what gives access to something.

use std::borrow::Cow;

use http::{Uri, uri::Authority};

/// Values of these parameters are secrets, whoever sends them.
///
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/url/>, at `url.query`.
/// The first two stood there once, and are what older signatures of Amazon are made of.
const SECRETS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "sig",
    "X-Goog-Signature",
];
const REDACTED: &str = "REDACTED";

/// A query, with the values of secret parameters replaced.
pub(super) fn query(query: &str) -> Cow<'_, str> {
    let has_secret = |parameter: &str| {
        let name = parameter.split_once('=').map_or("", |(name, _)| name);
        is_secret(name)
    };
    if !query.split('&').any(has_secret) {
        return Cow::Borrowed(query);
    }
    let mut shown = String::with_capacity(query.len() + REDACTED.len());
    for (index, parameter) in query.split('&').enumerate() {
        if index > 0 {
            shown.push('&');
        }
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            _ => shown.push_str(parameter),
        }
    }
    Cow::Owned(shown)
}

/// Whoever reads the parameter decodes its name first.
fn is_secret(name: &str) -> bool {
    if !name.contains('%') {
        return SECRETS.contains(&name);
    }
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    SECRETS.contains(&&*decoded)
}

/// An absolute URL, with the credentials and the values of secret parameters replaced.
pub(super) fn full(scheme: &str, authority: &Authority, uri: &Uri) -> String {
    let (authority, credentials) = match authority.as_str().rsplit_once('@') {
        Some((_, authority)) => (authority, "REDACTED:REDACTED@"),
        None => (authority.as_str(), ""),
    };
    let query = uri.query().map(query);
    let query_len = query.as_ref().map_or(0, |query| query.len() + 1);
    let length = scheme.len() + 3 + credentials.len() + authority.len() + uri.path().len();
    let mut url = String::with_capacity(length + query_len);
    for part in [scheme, "://", credentials, authority, uri.path()] {
        url.push_str(part);
    }
    if let Some(query) = query {
        url.push('?');
        url.push_str(&query);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, shown: &str) {
        let uri: Uri = url.parse().unwrap();
        let scheme = uri.scheme_str().unwrap();
        assert_eq!(full(scheme, uri.authority().unwrap(), &uri), shown);
    }

    #[test]
    fn a_url_without_secrets_is_shown_as_it_is() {
        check("http://a", "http://a/");
        check("https://a:8443/b/c?d=e&f", "https://a:8443/b/c?d=e&f");
        check("http://a/?", "http://a/?");
        check(
            "http://a/?signature=1&asig=2&sig",
            "http://a/?signature=1&asig=2&sig",
        );
    }

    #[test]
    fn credentials_are_replaced() {
        check("http://me:secret@a:1/b", "http://REDACTED:REDACTED@a:1/b");
        check("http://me@a/", "http://REDACTED:REDACTED@a/");
    }

    #[test]
    fn the_values_of_secret_parameters_are_replaced() {
        check(
            "http://a/?x=1&sig=2&Signature=3=4&AWSAccessKeyId=5&X-Goog-Signature=6&y=7",
            "http://a/?x=1&sig=REDACTED&Signature=REDACTED&AWSAccessKeyId=REDACTED\
             &X-Goog-Signature=REDACTED&y=7",
        );
        check("http://a/?sig=", "http://a/?sig=REDACTED");
        check(
            "http://a/?%73ig=1&X%2DAmz%2dSignature=2&s%ffig=3&%sig=4",
            "http://a/?%73ig=REDACTED&X%2DAmz%2dSignature=REDACTED&s%ffig=3&%sig=4",
        );
        check(
            "http://a/?X-Amz-Credential=1&X-Amz-Date=2&X-Amz-Security-Token=3&X-Amz-Signature=4",
            "http://a/?X-Amz-Credential=REDACTED&X-Amz-Date=2&X-Amz-Security-Token=REDACTED\
             &X-Amz-Signature=REDACTED",
        );
    }
}
