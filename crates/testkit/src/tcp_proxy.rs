//! A proxy for TCP connections, in front of one server or of several replicas, that breaks them on
//! cue.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Bytes pass.
    Open,
    /// No byte passes, and nobody is told.
    Stalled,
    /// Connections are closed, and new ones as soon as they are made.
    Refused,
}

/// Listens on a free port of 127.0.0.1; ends when dropped.
pub struct TcpProxy {
    address: SocketAddr,
    path: watch::Sender<Path>,
    _accepting: JoinSet<()>,
}

impl TcpProxy {
    /// Leads connections to these servers in turn; call it on a runtime.
    pub async fn start(servers: Vec<String>) -> Self {
        Self::start_at(0, servers).await
    }

    /// The same on a port of one's own.
    pub async fn start_at(port: u16, servers: Vec<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (path, watched) = watch::channel(Path::Open);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, servers.into(), watched));
        Self { address, path, _accepting: accepting }
    }

    /// Where it listens, as `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// From now on.
    pub fn set(&self, path: Path) {
        self.path.send_replace(path);
    }

    /// Closes every connection; new ones pass.
    pub fn reset(&self) {
        self.set(Path::Refused);
        self.set(Path::Open);
    }
}

async fn accept(listener: TcpListener, servers: Arc<[String]>, path: watch::Receiver<Path>) {
    let turn = AtomicUsize::new(0);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let index = turn.fetch_add(1, Ordering::Relaxed) % servers.len();
                connections.spawn(connect(client, servers[index].clone(), path.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, server: String, path: watch::Receiver<Path>) {
    let mut closing = path.clone();
    // Seen from here on: a reset closes even if it is over before this looks.
    let passing = async {
        if *closing.borrow_and_update() == Path::Refused {
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else { return };
        // Without it small messages wait for each other.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        tokio::select! {
            _ = pump(from_client, to_server, path.clone()) => {}
            _ = pump(from_server, to_client, path.clone()) => {}
            () = until_closed(closing) => {}
        }
    };
    passing.await;
}

/// Until it is told to close. Stalls and their ends are none of that.
async fn until_closed(mut path: watch::Receiver<Path>) {
    let mut last = *path.borrow_and_update();
    while path.changed().await.is_ok() {
        let now = *path.borrow_and_update();
        let was_reset = last == Path::Open && now == Path::Open;
        if now == Path::Refused || was_reset {
            return;
        }
        last = now;
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut path: watch::Receiver<Path>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut bytes).await?;
        path.wait_for(|path| *path != Path::Stalled).await.map_err(std::io::Error::other)?;
        if length == 0 {
            to.shutdown().await?;
            return std::future::pending().await;
        }
        to.write_all(&bytes[..length]).await?;
    }
}
