//! Whom to trust over TLS, and who to be.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
};

use crate::{Protocol, Tls, config_error::Mistakes};

/// Checks the settings even where none of them is used, since `https` may be meant.
pub(super) fn client(
    tls: &Tls,
    protocol: Protocol,
    needed: bool,
    mistakes: &mut Mistakes,
) -> Option<Arc<ClientConfig>> {
    let roots = match &tls.certificate {
        Some(pem) => trusted(pem, mistakes),
        None if needed => system(mistakes),
        None => Some(RootCertStore::empty()),
    };
    let identity = match &tls.identity {
        Some(identity) => {
            let chain = certificates(&identity.certificate)
                .inspect_err(|problem| mistakes.add("tls.identity.certificate", problem.clone()));
            let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| {
                mistakes.add("tls.identity.key", wrong_pem(error, "private key"));
            });
            Some((chain.ok()?, key.ok()?))
        }
        None => None,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of every version")
        .with_root_certificates(roots?);
    let mut client = match identity {
        Some((chain, key)) => match builder.with_client_auth_cert(chain, key) {
            Ok(client) => client,
            Err(error) => {
                let problem = format!("cannot be used with its certificate: {error}");
                mistakes.add("tls.identity.key", problem);
                return None;
            }
        },
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![match protocol {
        Protocol::Grpc => b"h2".to_vec(),
        Protocol::HttpProtobuf => b"http/1.1".to_vec(),
    }];
    Some(Arc::new(client))
}

/// The name that the server's certificate must be for.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

fn trusted(pem: &[u8], mistakes: &mut Mistakes) -> Option<RootCertStore> {
    let added = certificates(pem).and_then(|certificates| {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| format!("holds a certificate that cannot be trusted: {error}"))?;
        }
        Ok(roots)
    });
    added
        .map_err(|problem| mistakes.add("tls.certificate", problem))
        .ok()
}

fn system(mistakes: &mut Mistakes) -> Option<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store often holds one that nobody can read; the others serve.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Some(roots);
    }
    let why = found.errors.first().map(ToString::to_string);
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    let problem = format!("is not set, and this system has no certificates to trust{why}");
    mistakes.add("tls.certificate", problem);
    None
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong_pem(error, "certificate"))?;
    if certificates.is_empty() {
        return Err(wrong_pem(pem::Error::NoItemsFound, "certificate"));
    }
    Ok(certificates)
}

/// Without what was found there, which may be a key.
fn wrong_pem(error: pem::Error, wanted: &str) -> String {
    let problem = match error {
        pem::Error::NoItemsFound => return format!("holds no {wanted} in PEM"),
        pem::Error::MissingSectionEnd { .. } => "the end of a section is missing",
        pem::Error::IllegalSectionStart { .. } => "the beginning of a section is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    format!("is not PEM: {problem}")
}
