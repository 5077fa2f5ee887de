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
        tcp::{OwnedReadHalf, OwnedWriteHalf},
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

    /// Returns when it is so: when the port is open or closed, and what is to be reset is.
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
                    connections.shutdown().await;
                } else if listener.is_none() {
                    listener = Some(listen(address));
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

async fn serve(client: TcpStream, upstream: SocketAddr, fault: watch::Receiver<Fault>) {
    // Closing resets, also when this future is dropped. A connection of which both ends were read is
    // closed in good order before.
    let _ = client.set_zero_linger();
    let _ = client.set_nodelay(true);
    if *fault.borrow() == Fault::Reset {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of one direction is not that of the other; a failure is.
    let _ = tokio::try_join!(
        pump(from_client, to_server, fault.clone(), false),
        pump(from_server, to_client, fault, true),
    );
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
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
            read = from.read(&mut buffer[..room]) => read?,
            changed = fault.changed() => {
                changed.map_err(|_| reset())?;
                continue;
            }
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
