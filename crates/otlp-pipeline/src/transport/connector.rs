//! Makes connections, plain or over TLS, and finds out why one is of no use.

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

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        task::{Wake, Waker},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Counts writes.
    struct Counted {
        tcp: TcpStream,
        writes: Arc<AtomicUsize>,
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    impl Io for Counted {
        fn tcp(&self) -> &TcpStream {
            &self.tcp
        }
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.tcp).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf));
            self.writes.fetch_add(1, Relaxed);
            Poll::Ready(written)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.tcp).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.tcp).poll_shutdown(cx)
        }
    }

    /// A connection, the writes that it made, and its peer.
    async fn connected(protocol: Protocol) -> (Stream, Arc<AtomicUsize>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let writes = Arc::<AtomicUsize>::default();
        let io = Box::new(Counted {
            tcp,
            writes: Arc::clone(&writes),
        });
        let stream = Stream::new(io, protocol, Finding::default());
        (stream, writes, peer)
    }

    async fn arrived(peer: &mut TcpStream, bytes: &[u8]) {
        let mut heard = vec![0; bytes.len()];
        peer.read_exact(&mut heard).await.unwrap();
        assert!(heard == bytes);
    }

    #[tokio::test]
    async fn frames_that_follow_each_other_are_sent_at_once_by_the_next_read() {
        let (mut stream, writes, mut peer) = connected(Protocol::Grpc).await;
        let frames: Vec<_> = (0..4).map(|n| [n; 1000]).collect();
        for frame in &frames {
            stream.write_all(frame).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(writes.load(Relaxed), 0);
        // Which has nothing to read.
        let mut byte = [0; 1];
        let read = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut buf).is_ready())
        });
        assert!(!read.await);
        assert_eq!(writes.load(Relaxed), 1);
        arrived(&mut peer, &frames.concat()).await;
    }

    #[tokio::test]
    async fn what_nothing_follows_is_sent_by_the_next_flush() {
        let (mut stream, writes, mut peer) = connected(Protocol::Grpc).await;
        stream.write_all(b"the last").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(writes.load(Relaxed), 0);
        stream.flush().await.unwrap();
        arrived(&mut peer, b"the last").await;
    }

    #[tokio::test]
    async fn a_flush_that_waits_for_more_has_its_task_come_back() {
        let (mut stream, _, mut peer) = connected(Protocol::Grpc).await;
        stream.write_all(b"all there is").await.unwrap();
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        assert!(woken.0.load(Relaxed));
        let mut byte = [0; 1];
        let read = Pin::new(&mut stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        assert!(read.is_pending());
        arrived(&mut peer, b"all there is").await;
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_there_is_room_for() {
        let (mut stream, writes, mut peer) = connected(Protocol::Grpc).await;
        let sent: Vec<u8> = (0..5 * GATHERED / 2).map(|n| n as u8).collect();
        let hears = tokio::spawn({
            let sent = sent.clone();
            async move {
                arrived(&mut peer, &sent).await;
                peer
            }
        });
        for piece in sent.chunks(GATHERED / 4) {
            stream.write_all(piece).await.unwrap();
            assert!(stream.gathered.len() <= GATHERED);
        }
        // At least twice, since it is two and a half times as much.
        assert!(writes.load(Relaxed) >= 2);
        stream.shutdown().await.unwrap();
        let mut peer = hears.await.unwrap();
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn http_1_is_sent_as_it_is_written() {
        let (mut stream, writes, mut peer) = connected(Protocol::HttpProtobuf).await;
        stream.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(writes.load(Relaxed), 1);
        arrived(&mut peer, b"POST / HTTP/1.1\r\n").await;
    }
}
