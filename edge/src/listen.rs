//! Binds the addresses that were asked for, or says what it bound instead.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

/// How many free ports are tried until one is free on every address.
const ATTEMPTS: usize = 16;

/// What was bound, and what the user should know of it.
#[derive(Debug)]
pub(crate) struct Bound {
    /// All on the same port.
    pub(crate) listeners: Vec<TcpListener>,
    /// One line each.
    pub(crate) notices: Vec<String>,
}

/// Binds `wished`, all on the same port: the wished one or, when that is in use, a free one.
///
/// An address that this machine lacks (`[::1]` without IPv6) is left out if another remains.
///
/// # Errors
/// If nothing could be bound.
pub(crate) async fn bind(wished: &[SocketAddr]) -> io::Result<Bound> {
    let mut notices = Vec::new();
    match bind_all(wished, &mut notices).await {
        Err(err) if err.kind() == ErrorKind::AddrInUse => {}
        result => return result.map(|listeners| Bound { listeners, notices }),
    }
    let busy = wished.first().map_or(0, SocketAddr::port);
    let free: Vec<_> = wished.iter().map(|addr| with_port(addr.ip(), 0)).collect();
    for _ in 0..ATTEMPTS {
        notices.clear();
        match bind_all(&free, &mut notices).await {
            Err(err) if err.kind() == ErrorKind::AddrInUse => {}
            Err(err) => return Err(err),
            Ok(listeners) => {
                let port = listeners[0].local_addr()?.port();
                notices.push(format!("port {busy} is in use, taking {port} instead"));
                return Ok(Bound { listeners, notices });
            }
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// Port 0 becomes, for the second address on, the port that the first one got.
async fn bind_all(
    wished: &[SocketAddr],
    notices: &mut Vec<String>,
) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for addr in wished {
        let port = match listeners.first() {
            Some(first) => first.local_addr()?.port(),
            None => addr.port(),
        };
        let addr = with_port(addr.ip(), port);
        match TcpListener::bind(addr).await {
            Ok(listener) => listeners.push(listener),
            Err(err) if err.kind() == ErrorKind::AddrInUse => return Err(err),
            Err(err) => {
                notices.push(format!("not listening on {addr}: {err}"));
                missing = Some(err);
            }
        }
    }
    match missing {
        Some(err) if listeners.is_empty() => Err(err),
        _ => Ok(listeners),
    }
}

fn with_port(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_named_with_the_port_taken_instead() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wished = taken.local_addr().unwrap();
        let bound = bind(
            &["127.0.0.2:0".parse().unwrap(), wished]
                .map(|addr: SocketAddr| SocketAddr::new(addr.ip(), wished.port())),
        )
        .await
        .unwrap();
        let ports: Vec<u16> = bound
            .listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 2);
        assert_eq!(ports[0], ports[1]);
        assert_ne!(ports[0], wished.port());
        let notice = format!(
            "port {} is in use, taking {} instead",
            wished.port(),
            ports[0]
        );
        assert_eq!(bound.notices, [notice]);
    }

    #[tokio::test]
    async fn an_address_that_the_machine_lacks_is_skipped_with_a_line() {
        // 192.0.2.0/24 is for documentation (RFC 5737), so no machine has it.
        let lacking: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let bound = bind(&["127.0.0.1:0".parse().unwrap(), lacking])
            .await
            .unwrap();
        assert_eq!(bound.listeners.len(), 1);
        assert_eq!(bound.notices.len(), 1, "{:?}", bound.notices);
        assert!(bound.notices[0].starts_with("not listening on 192.0.2.1:"));
        assert!(bind(&[lacking]).await.is_err());
    }
}
