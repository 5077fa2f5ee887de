//! Makes connections, plain or over TLS, and finds out why one is of no use.

#[cfg(test)]
mod tests;

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::{AlertDescription, ClientConfig, InvalidMessage, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use crate::Protocol;

/// Why a server that was reached cannot be spoken to. Kept beside the connection, since the client
/// forgets what ended a connection that no request has used.
pub(super) type Finding = Arc<OnceLock<String>>;

const NEEDS_TLS: &str = "the server speaks TLS: the endpoint should begin with https://";
const NOT_TLS: &str = "the server does not speak TLS: the endpoint should begin with http://";
const NOT_GRPC: &str = "the server speaks HTTP/1, not gRPC: the protocol should be http/protobuf, or the port is another one";
const NOT_HTTP1: &str = "the server speaks HTTP/2 only, as gRPC does: the protocol should be grpc, or the port is another one";
const NO_ALPN: &str = "the server does not offer HTTP/2 over TLS (ALPN `h2`), which gRPC needs";
const NO_COMMON_ALPN: &str = "the server does not offer this protocol over TLS (ALPN)";

#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    protocol: Protocol,
    finding: Finding,
}

impl Connector {
    /// Encrypts if `tls` is given.
    pub(super) fn new(
        protocol: Protocol,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        timeout: Duration,
        finding: Finding,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses of a name, so that one that is dead leaves time for the others.
        tcp.set_connect_timeout(Some(timeout));
        Self {
            tcp,
            tls: tls.map(|(config, name)| (TlsConnector::from(config), name)),
            protocol,
            finding,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tcp = self.tcp.call(uri);
        let Self {
            tls,
            protocol,
            finding,
            ..
        } = self.clone();
        Box::pin(async move {
            let tcp = tcp.await?.into_inner();
            let io: Box<dyn Io> = match tls {
                Some((tls, name)) => {
                    let stream = tls.connect(name, tcp).await.map_err(handshake)?;
                    let agreed = stream.get_ref().1.alpn_protocol();
                    if protocol == Protocol::Grpc && agreed != Some(b"h2") {
                        return Err(NO_ALPN.into());
                    }
                    Box::new(stream)
                }
                None => Box::new(tcp),
            };
            Ok(TokioIo::new(Stream::new(io, protocol, finding)))
        })
    }
}

/// What a failed handshake tells about the server.
fn handshake(error: io::Error) -> Box<dyn Error + Send + Sync> {
    use rustls::Error as Tls;
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Tls>());
    match tls {
        Some(Tls::InvalidMessage(InvalidMessage::InvalidContentType)) => NOT_TLS.into(),
        Some(
            Tls::NoApplicationProtocol
            | Tls::AlertReceived(AlertDescription::NoApplicationProtocol),
        ) => NO_COMMON_ALPN.into(),
        _ => format!("TLS handshake: {error}").into(),
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Io for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Io for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Most bytes of HTTP/2 that are gathered before they are sent. Frames have 16 KiB with most servers, and each would be sent
/// by itself otherwise, with all that the kernel does for a segment.
const GATHERED: usize = 64 << 10;

/// A connection that finds out why it is of no use, and sends several frames at once.
pub(super) struct Stream {
    io: Box<dyn Io>,
    protocol: Protocol,
    finding: Finding,
    /// Until the first bytes.
    unheard: bool,
    /// What was written, from [`sent`](Self::sent) on still to be sent.
    gathered: Vec<u8>,
    sent: usize,
    /// Something was gathered since it was last asked to be flushed.
    added: bool,
    /// It was asked to be flushed, and is not.
    deferred: bool,
}

impl Stream {
    fn new(io: Box<dyn Io>, protocol: Protocol, finding: Finding) -> Self {
        Self {
            io,
            protocol,
            finding,
            unheard: true,
            gathered: Vec::with_capacity(if protocol == Protocol::Grpc {
                GATHERED
            } else {
                0
            }),
            sent: 0,
            added: false,
            deferred: false,
        }
    }

    /// Takes all of what is written, if it is of HTTP/2 and there is room for it, or will be.
    fn gather(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<Option<usize>>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.protocol != Protocol::Grpc {
            return Poll::Ready(Ok(None));
        }
        if self.gathered.len() + len > GATHERED {
            ready!(self.send_gathered(cx))?;
        }
        if len > GATHERED {
            return Poll::Ready(Ok(None));
        }
        for buf in bufs {
            self.gathered.extend_from_slice(buf);
        }
        self.added = true;
        Poll::Ready(Ok(Some(len)))
    }

    /// Sends what was gathered.
    fn send_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let rest = &self.gathered[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.sent += written,
                Err(error) => return self.failed(cx, error),
            }
        }
        self.gathered.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn flush_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_gathered(cx))?;
        match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
            Err(error) => self.failed(cx, error),
            flushed => {
                self.deferred = false;
                Poll::Ready(flushed)
            }
        }
    }

    /// Keeps what a server says in refusal: by the first bytes in plain text, or by an alert over TLS.
    fn find(&mut self, heard: io::Result<&[u8]>) -> io::Result<()> {
        match heard {
            Ok([]) => Ok(()),
            Ok(bytes) => match mismatch(bytes, self.protocol) {
                Some(problem) if std::mem::take(&mut self.unheard) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, problem);
                    self.find(Err(error))
                }
                _ => {
                    self.unheard = false;
                    Ok(())
                }
            },
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    // The first is what led to the others.
                    let _ = self.finding.set(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Lets what the server said be heard before the failure to write to it.
    ///
    /// A server that refuses says why and closes, while this side may still be writing. The answer to
    /// come, or the end, wakes whoever reads this connection, which is the same task.
    fn failed<T>(&self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Result<T>> {
        let mut byte = [0; 1];
        match self.io.tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending | Poll::Ready(Ok(1..)) => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.deferred {
            // If it cannot be sent, reading tells why.
            let _ = self.flush_gathered(cx);
        }
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        Poll::Ready(self.find(read.map(|()| &buf.filled()[before..])))
    }
}

/// What the first bytes tell of a server that speaks another protocol.
fn mismatch(heard: &[u8], protocol: Protocol) -> Option<&'static str> {
    match (heard, protocol) {
        // A record of TLS, an alert, of any version.
        ([0x15, 3, ..], _) => Some(NEEDS_TLS),
        ([b'H', b'T', b'T', b'P', b'/', ..], Protocol::Grpc) => Some(NOT_GRPC),
        // A frame of HTTP/2, SETTINGS, on stream 0.
        ([0, _, _, 4, _, 0, 0, 0, 0, ..], Protocol::HttpProtobuf) => Some(NOT_HTTP1),
        _ => None,
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(len) = ready!(self.gather(cx, &[io::IoSlice::new(buf)]))? {
            return Poll::Ready(Ok(len));
        }
        match ready!(Pin::new(&mut self.io).poll_write(cx, buf)) {
            Err(error) => self.failed(cx, error),
            written => Poll::Ready(written),
        }
    }

    /// HTTP/2 is flushed after each frame, and then goes on with the next. So the first time this has whoever works on the
    /// connection come back, and looks then whether there was another.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.added) {
            self.deferred = true;
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.flush_gathered(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.flush_gathered(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(len) = ready!(self.gather(cx, bufs))? {
            return Poll::Ready(Ok(len));
        }
        match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs)) {
            Err(error) => self.failed(cx, error),
            written => Poll::Ready(written),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
