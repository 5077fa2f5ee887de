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
