//! A proxy for TCP connections, in front of one server or of several replicas, with which tests
//! break connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Pause before the proxy listens again on an address which another socket has.
const REBIND_PAUSE: Duration = Duration::from_millis(5);
/// How long [`TcpProxy::open`] waits for its address.
const REBIND_TIMEOUT: Duration = Duration::from_secs(20);

/// The state of the path between clients and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Bytes pass.
    Open,
    /// Connections are accepted and no byte passes; bytes sent meanwhile pass afterwards.
    Stalled,
    /// No connection is accepted, and existing connections are reset.
    Refused,
    /// Every connection, existing or new, is reset.
    Reset,
}

impl Path {
    const fn cuts(self) -> bool {
        matches!(self, Self::Refused | Self::Reset)
    }
}

/// Listens on a port of 127.0.0.1; ends when dropped.
pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Whether connections are accepted.
    listens: watch::Receiver<bool>,
    _accepting: JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    path: Path,
    /// Connections made before the last reset are cut.
    resets: usize,
}

impl TcpProxy {
    /// Listens on a free port and distributes connections over these servers, round robin.
    pub async fn start(servers: Vec<String>) -> Self {
        Self::start_at(0, servers).await
    }

    /// The same on a given port; 0 chooses a free port.
    pub async fn start_at(port: u16, servers: Vec<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, watched) = watch::channel(State { path: Path::Open, resets: 0 });
        let (listening, listens) = watch::channel(true);
        let acceptor = Acceptor { address, servers, state: watched, listening };
        let mut accepting = JoinSet::new();
        accepting.spawn(acceptor.run(listener));
        Self { address, state, listens, _accepting: accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Changes the path of all connections, which takes effect a moment later.
    pub fn set(&self, path: Path) {
        self.state.send_modify(|state| {
            state.path = path;
            state.resets += usize::from(path.cuts());
        });
    }

    /// Resets the existing connections; new connections pass.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// Opens the path and waits until connections are accepted.
    pub async fn open(&self) {
        self.set(Path::Open);
        let mut listens = self.listens.clone();
        let listening = timeout(REBIND_TIMEOUT, listens.wait_for(|listens| *listens)).await;
        assert!(listening.is_ok(), "another socket uses {}", self.address);
    }
}

struct Acceptor {
    address: SocketAddr,
    servers: Vec<String>,
    state: watch::Receiver<State>,
    listening: watch::Sender<bool>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut servers = self.servers.clone().into_iter().cycle();
        // Connections end with this task.
        let mut connections = JoinSet::new();
        loop {
            let state = *self.state.borrow_and_update();
            if state.path == Path::Refused {
                listener = None;
            } else if listener.is_none() {
                listener = Some(self.listen_again().await);
            }
            self.listening.send_replace(listener.is_some());
            let accepted = tokio::select! {
                changed = self.state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                accepted = accept(listener.as_ref()) => accepted,
            };
            if let (Ok(client), Some(server)) = (accepted, servers.next()) {
                connections.spawn(relay(client, server, self.state.clone()));
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn listen_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => return listener,
                Err(_) => sleep(REBIND_PAUSE).await,
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn relay(mut client: TcpStream, server: String, mut state: watch::Receiver<State>) {
    let resets = state.borrow().resets;
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Without it small messages wait for acknowledgements.
    let quick = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if quick.is_err() {
        return;
    }
    let (there, back) = (state.clone(), state.clone());
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let passing = async {
            tokio::join!(pass(from_client, to_server, there), pass(from_server, to_client, back))
        };
        tokio::select! {
            _ = state.wait_for(|state| state.path.cuts() || state.resets != resets) => true,
            _ = passing => false,
        }
    };
    if is_cut {
        // Closing then resets. If the option cannot be set, the connection ends without a reset.
        drop(client.set_zero_linger());
        drop(server.set_zero_linger());
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if state.wait_for(|state| state.path != Path::Stalled).await.is_err() {
            return;
        }
        if read == 0 {
            // The other side may have closed already.
            drop(to.shutdown().await);
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::spawn;

    use tokio::runtime::Runtime;

    use super::*;

    /// A server that answers each byte with itself.
    fn echo_server() -> String {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap().to_string();
        spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        address
    }

    fn echo(stream: &mut TcpStream) -> io::Result<()> {
        let mut byte = [0];
        stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte))
    }

    /// A new path takes effect a moment later.
    fn ends(stream: &mut TcpStream) -> bool {
        (0..100_000).any(|_| echo(stream).is_err())
    }

    #[test]
    fn a_path_passes_refuses_resets_stalls_and_passes_again() {
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(TcpProxy::start(vec![echo_server()]));
        let connect = || TcpStream::connect(proxy.address());
        let mut old = connect().unwrap();
        echo(&mut old).unwrap();
        proxy.set(Path::Reset);
        assert!(ends(&mut old));
        proxy.set(Path::Refused);
        runtime.block_on(proxy.listens.clone().wait_for(|listens| !listens)).unwrap();
        connect().unwrap_err();
        runtime.block_on(proxy.open());
        let mut new = connect().unwrap();
        echo(&mut new).unwrap();
        proxy.set(Path::Stalled);
        new.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(ends(&mut new));
        proxy.set(Path::Open);
        new.set_read_timeout(None).unwrap();
        new.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_reset_ends_existing_connections_and_no_new_one() {
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(TcpProxy::start(vec![echo_server()]));
        let connect = || TcpStream::connect(proxy.address()).unwrap();
        let (mut old, mut older) = (connect(), connect());
        echo(&mut old).and_then(|()| echo(&mut older)).unwrap();
        proxy.reset();
        assert!(ends(&mut old) && ends(&mut older));
        let mut new = connect();
        (0..100).try_for_each(|_| echo(&mut new)).unwrap();
    }
}
