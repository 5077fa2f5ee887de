//! Tells a connection that is idle from one that sends the head of a request byte by byte.
//!
//! hyper has one timeout for both, and what is long for a head is short for an exporter that sends
//! once a minute.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep_until},
};

/// How long the head of a request may take to arrive.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// How long a connection of HTTP/1.1 may have nothing to do.
pub(super) const IDLE: Duration = Duration::from_secs(180);

/// How long a client may take for the next slice of an answer.
pub(super) const READ: Duration = Duration::from_secs(60);

/// With which a connection of HTTP/2 begins: <https://www.rfc-editor.org/rfc/rfc9113#preface>.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is known of a connection.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<State>>);

struct State {
    /// As many as make it certain that it is HTTP/2.
    first_bytes: Vec<u8>,
    answering: usize,
    /// When the connection became idle, or the first byte of the next request came.
    since: Instant,
    is_head_pending: bool,
    /// When the last request had its answer, or the connection was made.
    unused_since: Instant,
    /// Answers that are being read, by numbers, with when the slice was given that is on its way, if one is.
    reading: BTreeMap<u64, Option<Instant>>,
    next_reading: u64,
}

impl Watch {
    /// A head is expected from now on.
    pub(super) fn new() -> Watch {
        Watch(Arc::new(Mutex::new(State {
            first_bytes: Vec::new(),
            answering: 0,
            since: Instant::now(),
            is_head_pending: true,
            unused_since: Instant::now(),
            reading: BTreeMap::new(),
            next_reading: 0,
        })))
    }

    /// Since when there has been no request on the connection, if there is none now and nothing begins one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let is_idle = state.answering == 0
            && state.reading.is_empty()
            && (state.is_http2() || !state.is_head_pending);
        is_idle.then_some(state.unused_since)
    }

    /// Whether anything has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.state().first_bytes.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the peer has kept the connection waiting for too long.
    pub(super) async fn expired(&self) {
        loop {
            let deadline = {
                let state = self.state();
                match state.deadline() {
                    Deadline::At(deadline) if deadline <= Instant::now() => return,
                    Deadline::At(deadline) => deadline,
                    // It may have one in a while.
                    Deadline::None => Instant::now() + HEAD,
                }
            };
            sleep_until(deadline).await;
        }
    }

    /// A request has come, and is answered until this is dropped.
    pub(super) fn answering(&self) -> Answering {
        let mut state = self.state();
        state.answering += 1;
        state.is_head_pending = false;
        Answering(self.clone())
    }

    /// An answer is there to be read, until this is dropped.
    pub(super) fn reading(&self) -> Reading {
        let mut state = self.state();
        let number = state.next_reading;
        state.next_reading += 1;
        state.reading.insert(number, None);
        Reading {
            watch: self.clone(),
            number,
        }
    }

    /// Who takes a long answer slowly is not idle.
    fn sent(&self) {
        let mut state = self.state();
        if !state.is_head_pending {
            state.since = Instant::now();
        }
    }

    fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        let missing = PREFACE.len() - state.first_bytes.len();
        let first = &bytes[..bytes.len().min(missing)];
        state.first_bytes.extend_from_slice(first);
        if state.answering == 0 && !state.is_head_pending {
            state.is_head_pending = true;
            state.since = Instant::now();
        }
    }
}

/// See [`Watch::answering`].
pub(super) struct Answering(Watch);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.answering -= 1;
        state.since = Instant::now();
        state.unused_since = state.since;
    }
}

/// See [`Watch::reading`].
pub(super) struct Reading {
    watch: Watch,
    number: u64,
}

impl Reading {
    /// The next slice is wanted: what was given before is read, or soon will be.
    pub(super) fn is_awaited(&self) {
        self.watch.state().reading.insert(self.number, None);
    }

    pub(super) fn is_given(&self) {
        let now = Some(Instant::now());
        self.watch.state().reading.insert(self.number, now);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        state.reading.remove(&self.number);
        state.unused_since = Instant::now();
        if !state.is_head_pending {
            state.since = state.unused_since;
        }
    }
}

enum Deadline {
    At(Instant),
    None,
}

impl State {
    fn is_http2(&self) -> bool {
        self.first_bytes == PREFACE
    }

    fn deadline(&self) -> Deadline {
        if let Some(given) = self.reading.values().flatten().min() {
            Deadline::At(*given + READ)
        } else if self.is_http2() {
            // Frames come and go on it without requests.
            Deadline::None
        } else if self.answering > 0 {
            Deadline::None
        } else if self.is_head_pending {
            Deadline::At(self.since + HEAD)
        } else {
            Deadline::At(self.since + IDLE)
        }
    }
}

/// A stream that notes what is read from it.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) watch: Watch,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let received = &buffer.filled()[before..];
        if !received.is_empty() {
            self.watch.received(received);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch.sent();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.sent();
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds the connection expires, if it does within an hour.
    async fn expires(watch: &Watch) -> Option<u64> {
        let start = Instant::now();
        let expired = tokio::time::timeout(Duration::from_secs(3600), watch.expired()).await;
        expired.ok().map(|()| start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_of_a_request_has_ten_seconds() {
        let watch = Watch::new();
        assert_eq!(expires(&watch).await, Some(10));
        let watch = Watch::new();
        watch.received(b"GET / HT");
        assert_eq!(expires(&watch).await, Some(10));
        let watch = Watch::new();
        watch.received(&PREFACE[..23]);
        assert_eq!(expires(&watch).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn between_two_requests_there_may_be_three_minutes() {
        let watch = Watch::new();
        watch.received(b"GET / HTTP/1.1\r\n\r\n");
        drop(watch.answering());
        assert_eq!(expires(&watch).await, Some(180));

        let watch = Watch::new();
        drop(watch.answering());
        tokio::time::advance(Duration::from_secs(100)).await;
        watch.received(b"G");
        assert_eq!(expires(&watch).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_its_time() {
        let watch = Watch::new();
        let answering = watch.answering();
        watch.received(b"the body");
        assert_eq!(expires(&watch).await, None);
        drop(answering);
        tokio::time::advance(Duration::from_secs(170)).await;
        watch.sent();
        assert_eq!(expires(&watch).await, Some(180));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_to_be_read_within_a_minute_by_slices() {
        for is_http2 in [false, true] {
            let watch = Watch::new();
            watch.received(if is_http2 {
                PREFACE
            } else {
                b"GET / HTTP/1.1\r\n\r\n"
            });
            drop(watch.answering());
            let reading = watch.reading();
            // It is still being made.
            tokio::time::advance(Duration::from_secs(100)).await;
            reading.is_given();
            tokio::time::advance(Duration::from_secs(50)).await;
            reading.is_awaited();
            reading.is_given();
            assert_eq!(expires(&watch).await, Some(60));

            assert_eq!(watch.idle_since(), None);
            drop(reading);
            assert_eq!(watch.idle_since(), Some(Instant::now()));
            let expected = (!is_http2).then_some(180);
            assert_eq!(expires(&watch).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_between_two_requests() {
        let watch = Watch::new();
        assert_eq!(watch.idle_since(), None);
        watch.received(b"GET / HTTP/1.1\r\n\r\n");
        let answering = watch.answering();
        assert_eq!(watch.idle_since(), None);
        drop(answering);
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(watch.idle_since(), Some(since));
        watch.received(b"GET");
        assert_eq!(watch.idle_since(), None);

        let watch = Watch::new();
        let since = Instant::now();
        watch.received(PREFACE);
        tokio::time::advance(Duration::from_secs(1)).await;
        watch.received(b"frames of no request");
        assert_eq!(watch.idle_since(), Some(since));
    }

    #[tokio::test(start_paused = true)]
    async fn http2_keeps_itself_alive() {
        let watch = Watch::new();
        watch.received(PREFACE);
        watch.received(b"frames");
        assert_eq!(expires(&watch).await, None);
    }
}
