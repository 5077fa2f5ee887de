//! A proxy for TCP that does to connections what networks do.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::background::Background;

/// What happens to connections, those that are open included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The port is closed, and what was open is reset.
    Refuse,
    /// Connections are accepted, and nothing goes through in either direction.
    Blackhole,
    /// Each piece of an answer comes so much later.
    Delay(Duration),
    /// The port is as closed as with [`Fault::Refuse`], then open, each for so long.
    Flap(Duration),
    /// Connections are reset once so many bytes of answers went through, counted for each.
    CutAfter(usize),
    /// Connections are accepted and reset.
    Reset,
    /// So many bytes per second go through in each direction.
    Throttle(usize),
}

/// Stands between a client and `upstream`.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    changes: mpsc::UnboundedSender<Change>,
    accepted: Arc<AtomicUsize>,
    _reserved: TcpSocket,
    _background: Background,
}

/// A fault, and whom to tell once it is one.
type Change = (Fault, std::sync::mpsc::Sender<()>);

impl Proxy {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(upstream: SocketAddr, fault: Fault) -> Self {
        // Bound and never listening, so that the port stays ours while it is closed.
        let reserved = socket(([127, 0, 0, 1], 0).into());
        let address = reserved.local_addr().expect("a bound socket");
        let (changes, changed) = mpsc::unbounded_channel();
        let accepted = Arc::default();
        let background = Background::start("proxy", {
            let accepted = Arc::clone(&accepted);
            move || run(address, upstream, changed, accepted)
        });
        let proxy = Self {
            address,
            changes,
            accepted,
            _reserved: reserved,
            _background: background,
        };
        proxy.set(fault);
        proxy
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns when it is so: when the port is open or closed, what is to be reset is, and nothing more is read that the
    /// fault is not for. A piece that was read before goes on as the fault of then says.
    pub fn set(&self, fault: Fault) {
        let (tell, told) = std::sync::mpsc::channel();
        let sent = self.changes.send((fault, tell));
        sent.expect("the proxy runs as long as it is owned");
        told.recv().expect("the proxy could open its port");
    }
}

async fn run(
    address: SocketAddr,
    upstream: SocketAddr,
    mut changes: mpsc::UnboundedReceiver<Change>,
    accepted: Arc<AtomicUsize>,
) {
    let (fault, of_connections) = watch::channel(Fault::Refuse);
    let mut connections = JoinSet::new();
    let mut listener = None;
    let mut period = None;
    loop {
        // An open port waits for clients, a flapping one for its next turn, and all for a change.
        let client = async {
            match &listener {
                Some(listener) => TcpListener::accept(listener).await,
                None => std::future::pending().await,
            }
        };
        let turn = async {
            match period {
                Some(period) => sleep_until(period).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            client = client => {
                // One that is gone already is not worth a word.
                if let Ok((client, _)) = client {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(serve(client, upstream, of_connections.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
            () = turn => {
                let Fault::Flap(time) = *fault.borrow() else { continue };
                listener = match listener {
                    Some(_) => {
                        connections.shutdown().await;
                        None
                    }
                    None => Some(listen(address)),
                };
                period = Some(Instant::now() + time);
            }
            change = changes.recv() => {
                let Some((now, tell)) = change else { return };
                fault.send_replace(now);
                period = None;
                if let Fault::Refuse | Fault::Flap(_) = now {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(listen(address));
                }
                if let Fault::Refuse | Fault::Flap(_) | Fault::Reset = now {
                    connections.shutdown().await;
                }
                if let Fault::Flap(time) = now {
                    period = Some(Instant::now() + time);
                }
                // Whoever asked may have ended meanwhile.
                let _ = tell.send(());
            }
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    socket(address).listen(1024).expect("a bound socket")
}

/// One of several at the same address, of which at most one listens.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket of ours");
    socket.set_reuseport(true).expect("a socket of ours");
    socket.bind(address).expect("a port that is free or ours");
    socket
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, fault: watch::Receiver<Fault>) {
    // Closing resets, also when this future is dropped. A connection of which both ends were read is
    // closed in good order before. Halves that own their connection would end it in good order.
    let _ = client.set_zero_linger();
    let _ = client.set_nodelay(true);
    if *fault.borrow() == Fault::Reset {
        return;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // The end of one direction is not that of the other; a failure is.
    let _ = tokio::try_join!(
        pump(from_client, to_server, fault.clone(), false),
        pump(from_server, to_client, fault, true),
    );
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    answers: bool,
) -> io::Result<()> {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut passed = 0;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let now = *fault.borrow_and_update();
        let room = match now {
            Fault::Reset => return Err(reset()),
            Fault::Blackhole => {
                fault.changed().await.map_err(|_| reset())?;
                continue;
            }
            Fault::CutAfter(limit) if answers && passed >= limit => return Err(reset()),
            Fault::CutAfter(limit) if answers => buffer.len().min(limit - passed),
            Fault::Throttle(rate) => buffer.len().min(rate.div_ceil(20)).max(1),
            _ => buffer.len(),
        };
        // What arrived is read and passed on under one fault: a change waits for the next piece.
        let read = tokio::select! {
            biased;
            changed = fault.changed() => {
                changed.map_err(|_| reset())?;
                continue;
            }
            read = from.read(&mut buffer[..room]) => read?,
        };
        match now {
            Fault::Delay(time) if answers => sleep(time).await,
            Fault::Throttle(_) => sleep(Duration::from_millis(50)).await,
            _ => {}
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        passed += read;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn nothing_goes_through_after_a_blackhole_even_if_it_came_before() {
        // Each time by chance, if at all.
        for _ in 0..50 {
            let ((mut client, mut from), (mut to, server)) = (pair().await, pair().await);
            let ((from, _), (_, to)) = (from.split(), to.split());
            let (faults, fault) = watch::channel(Fault::None);
            let mut pump = pin!(pump(from, to, fault, false));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(pump.as_mut().poll(&mut cx).is_pending());
            client.write_all(b"a").await.unwrap();
            // What is sent later is there, and so is that.
            let (mut later, mut there) = pair().await;
            later.write_all(b"b").await.unwrap();
            there.read_exact(&mut [0]).await.unwrap();
            faults.send_replace(Fault::Blackhole);
            assert!(pump.as_mut().poll(&mut cx).is_pending());
            let nothing = server.try_read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn what_is_open_is_reset_when_the_fault_is_set() {
        use std::io::{Read, Write};

        let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(upstream.local_addr().unwrap(), Fault::None);
        for _ in 0..50 {
            let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
            client.write_all(b"a").unwrap();
            let (mut server, _) = upstream.accept().unwrap();
            server.read_exact(&mut [0]).unwrap();
            proxy.set(Fault::Reset);
            client.set_nonblocking(true).unwrap();
            let reset = client.read(&mut [0]).unwrap_err();
            assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
            proxy.set(Fault::None);
        }
    }
}
