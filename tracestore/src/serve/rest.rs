//! What of a request's address is longer than addresses may be.
//!
//! `http` has no address of more than 64 KiB, while a query in TraceQL may have 128 KiB, each byte of it written as three.
//! So hyper is shown the beginning of a long address and never the rest, which goes beside the request: see [`Rest`]. In
//! HTTP/1.1 only, by which clients ask so.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Bytes of the first line of a request that hyper is shown. Its head has as many more for the headers.
const SHOWN: usize = 32 << 10;

/// Bytes of an address that are kept beyond that: what a query of 128 KiB takes at most, and whatever is beside it.
const MAX_REST: usize = 400 << 10;

/// Requests of one port that have a rest at once. One more is not read on until one of them is answered, or ends because
/// its head takes too long.
const MAX_RESTS: usize = 16;

/// What follows the address of a request, in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Rest(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    is_whole: bool,
    _room: OwnedSemaphorePermit,
}

impl Rest {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Whether there was not more of it than is kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.is_whole
    }
}

/// Room for the rests of a port.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Room {
        Room(Arc::new(Semaphore::new(MAX_RESTS)))
    }
}

/// What is on its way from the head of a request to the request itself.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many there were.
    requests: u64,
    /// Each with the number of the request that it is for.
    rests: VecDeque<(u64, Rest)>,
}

impl Handover {
    /// What is for the next request. To be called for each that comes.
    pub(super) fn next(&self) -> Option<Rest> {
        let mut state = self.state();
        state.requests += 1;
        let requests = state.requests;
        let (_, rest) = state
            .rests
            .pop_front_if(|(number, _)| *number == requests)?;
        Some(rest)
    }

    fn give(&self, request: u64, rest: Rest) {
        self.state().rests.push_back((request, rest));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream whose reader sees no more than the beginning of long addresses.
pub(super) struct Shortened<S> {
    stream: S,
    heads: Heads,
    room: Room,
    /// Until there is room.
    waiting: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
}

impl<S> Shortened<S> {
    pub(super) fn new(stream: S, room: Room, handover: Handover) -> Shortened<S> {
        Shortened {
            stream,
            heads: Heads {
                at: At::Between,
                number: 0,
                handover,
            },
            room,
            waiting: None,
        }
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let room = Arc::clone(&self.room.0).acquire_owned();
            Box::pin(async { room.await.ok() })
        });
        let room = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(room)
    }
}

/// Where in the heads of requests a connection is, as far as that can be told: requests with a body are not followed, nor
/// is what comes after them.
struct Heads {
    at: At,
    /// Of the request whose head it is, from 1.
    number: u64,
    handover: Handover,
}

enum At {
    /// Before a request. Empty lines count for nothing.
    Between,
    /// In the first line, of which so much was read.
    Line(Line),
    /// In what of the address is kept.
    Rest {
        bytes: Vec<u8>,
        is_whole: bool,
        room: OwnedSemaphorePermit,
    },
    /// Behind the address.
    Version,
    /// In a line of a header.
    Header(Name),
    /// Nothing is shortened any more.
    Unknown,
}

#[derive(Default)]
struct Line {
    len: usize,
    method: Name,
    is_in_address: bool,
    is_in_query: bool,
}

/// The beginning of a line, in lower case: as much as tells whether a body follows.
#[derive(Default)]
struct Name {
    bytes: [u8; 18],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn begins_with(&self, text: &str) -> bool {
        self.bytes[..self.len].starts_with(text.as_bytes())
    }

    fn is_empty(&self) -> bool {
        self.bytes[..self.len] == *b"" || self.bytes[..self.len] == *b"\r"
    }
}

impl Heads {
    /// How many bytes may be read at once, so that a line never goes beyond [`SHOWN`] within them.
    fn wanted(&self) -> usize {
        match &self.at {
            At::Unknown => usize::MAX,
            At::Line(line) => SHOWN - line.len,
            _ => SHOWN,
        }
    }

    /// Whether the line goes on behind what is shown of it.
    fn is_long(&self) -> bool {
        matches!(&self.at, At::Line(line) if line.len == SHOWN)
    }

    /// Begins to keep what follows, if that is the end of a query.
    fn shorten(&mut self, room: Option<OwnedSemaphorePermit>) {
        let is_query = matches!(&self.at, At::Line(line) if line.is_in_query && line.has_no_body());
        self.at = match room {
            Some(room) if is_query => At::Rest {
                bytes: Vec::new(),
                is_whole: true,
                room,
            },
            _ => At::Unknown,
        };
    }

    /// Moves what is shown to the front, and says how much it is.
    fn show(&mut self, bytes: &mut [u8]) -> usize {
        let mut shown = 0;
        for at in 0..bytes.len() {
            let byte = bytes[at];
            if self.shows(byte) {
                bytes[shown] = byte;
                shown += 1;
            }
        }
        shown
    }

    fn shows(&mut self, byte: u8) -> bool {
        match &mut self.at {
            At::Between if byte == b'\r' || byte == b'\n' => {}
            At::Between => {
                self.number += 1;
                let mut line = Line::default();
                line.push(byte);
                self.at = At::Line(line);
            }
            At::Line(line) if byte == b'\n' => self.at = line.end(),
            At::Line(line) => line.push(byte),
            At::Rest { .. } if matches!(byte, b' ' | b'\r' | b'\n') => self.hand_over(byte),
            At::Rest {
                bytes, is_whole, ..
            } => {
                match bytes.len() < MAX_REST {
                    true => bytes.push(byte),
                    false => *is_whole = false,
                }
                return false;
            }
            At::Version if byte == b'\n' => self.at = At::Header(Name::default()),
            At::Version => {}
            At::Header(name) if byte == b'\n' => {
                let has_body = ["content-length:", "transfer-encoding:", "upgrade:"];
                if name.is_empty() {
                    self.at = At::Between;
                } else if has_body.iter().any(|body| name.begins_with(body)) {
                    self.at = At::Unknown;
                } else {
                    self.at = At::Header(Name::default());
                }
            }
            At::Header(name) => name.push(byte),
            At::Unknown => {}
        }
        true
    }

    /// At the end of the address. A line that ends there is none, and no request comes of it.
    fn hand_over(&mut self, end: u8) {
        let next = match end {
            b' ' => At::Version,
            _ => At::Unknown,
        };
        if let At::Rest {
            bytes,
            is_whole,
            room,
        } = std::mem::replace(&mut self.at, next)
        {
            let kept = Kept {
                bytes,
                is_whole,
                _room: room,
            };
            self.handover.give(self.number, Rest(Arc::new(kept)));
        }
    }
}

impl Line {
    fn push(&mut self, byte: u8) {
        self.len += 1;
        match byte {
            b' ' if self.is_in_address => self.is_in_query = false,
            b' ' => self.is_in_address = true,
            b'?' if self.is_in_address => self.is_in_query = true,
            _ if self.is_in_address => {}
            byte => self.method.push(byte),
        }
    }

    fn end(&self) -> At {
        match self.has_no_body() {
            true => At::Header(Name::default()),
            false => At::Unknown,
        }
    }

    /// As far as the method tells. `PRI` is HTTP/2.
    fn has_no_body(&self) -> bool {
        self.method.begins_with("get") || self.method.begins_with("head")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Shortened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.heads.is_long() {
                let room = ready!(self.poll_room(context));
                self.heads.shorten(room);
            }
            let wanted = self.heads.wanted().min(buffer.remaining());
            if wanted == buffer.remaining() && matches!(self.heads.at, At::Unknown) {
                return Pin::new(&mut self.stream).poll_read(context, buffer);
            }
            let bytes = buffer.initialize_unfilled_to(wanted);
            let mut part = ReadBuf::new(bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
            let read = part.filled().len();
            let shown = self.heads.show(&mut bytes[..read]);
            buffer.advance(shown);
            // Nothing would be the end of the stream.
            if shown > 0 || read == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Shortened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
