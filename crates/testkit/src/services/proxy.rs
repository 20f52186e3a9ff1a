//! A TCP path that fails on cue.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause before an address is tried again that was ours a moment ago.
const REBIND_PAUSE: Duration = Duration::from_millis(5);

/// How a path behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Bytes pass.
    Open,
    /// Connections are made and nothing passes; what was sent meanwhile passes afterwards.
    Stalled,
    /// No connection can be made, and those there were are reset.
    Refused,
    /// Every connection, old or new, is reset.
    Reset,
}

impl Path {
    const fn cuts(self) -> bool {
        matches!(self, Self::Refused | Self::Reset)
    }
}

/// A port of the loopback interface that leads to another one, or does not.
pub struct Proxy {
    address: SocketAddr,
    path: watch::Sender<Path>,
    /// Whether connections can be made.
    listens: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// An open path to a port of the loopback interface.
    pub fn start(runtime: &Runtime, port: u16) -> Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (path, receiver) = watch::channel(Path::Open);
        let (listening, listens) = watch::channel(true);
        let door = Door { address, port, path: receiver, listening };
        let task = runtime.spawn(door.serve(listener));
        Ok(Self { address, path, listens, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the path for all connections.
    pub fn set(&self, path: Path) {
        self.path.send_replace(path);
    }

    /// Opens the path, and returns when connections can be made again.
    pub fn open(&self, runtime: &Runtime) -> Result<()> {
        self.set(Path::Open);
        let mut listens = self.listens.clone();
        let opened = runtime.block_on(async move {
            let waiting = listens.wait_for(|listens| *listens);
            tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok()
        });
        ensure!(opened, "{} was taken by somebody else", self.address);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task of a proxy works with.
struct Door {
    address: SocketAddr,
    port: u16,
    path: watch::Receiver<Path>,
    listening: watch::Sender<bool>,
}

impl Door {
    async fn serve(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        // Connections end with this task.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let path = *self.path.borrow_and_update();
            if path == Path::Refused {
                listener = None;
            } else if listener.is_none() {
                listener = Some(self.listen_again().await);
            }
            self.listening.send_replace(listener.is_some());
            let accepted = tokio::select! {
                changed = self.path.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                accepted = accept(listener.as_ref()) => accepted,
            };
            let Ok(client) = accepted else { continue };
            connections.spawn(relay(client, self.port, self.path.clone()));
            while connections.try_join_next().is_some() {}
        }
    }

    async fn listen_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(REBIND_PAUSE).await,
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn relay(client: TcpStream, port: u16, mut path: watch::Receiver<Path>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    // Without it small messages wait for acknowledgements.
    let quick = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    if quick.is_err() {
        return;
    }
    let (mut client, mut server) = (client, server);
    let (there, back) = (path.clone(), path.clone());
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            _ = path.wait_for(|path| path.cuts()) => true,
            _ = async {
                tokio::join!(pass(from_client, to_server, there), pass(from_server, to_client, back))
            } => false,
        }
    };
    if is_cut {
        // Closing then resets. If that cannot be had, the connection just ends.
        drop(client.set_zero_linger());
        drop(server.set_zero_linger());
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut path: watch::Receiver<Path>,
) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if path.wait_for(|path| *path != Path::Stalled).await.is_err() {
            return;
        }
        if read == 0 {
            // The other side may be gone already.
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

    use super::*;

    #[test]
    fn a_path_passes_refuses_resets_stalls_and_passes_again() {
        let runtime = Runtime::new().unwrap();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(&runtime, server.local_addr().unwrap().port()).unwrap();
        spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        let echo = |stream: &mut TcpStream| {
            let mut byte = [0];
            stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte))
        };
        // A connection hears of a new path a moment later.
        let ends = |stream: &mut TcpStream| (0..100_000).any(|_| echo(stream).is_err());
        let connect = || TcpStream::connect(proxy.address());
        let mut old = connect().unwrap();
        echo(&mut old).unwrap();
        proxy.set(Path::Reset);
        assert!(ends(&mut old));
        proxy.set(Path::Refused);
        runtime.block_on(proxy.listens.clone().wait_for(|listens| !listens)).unwrap();
        connect().unwrap_err();
        proxy.open(&runtime).unwrap();
        let mut new = connect().unwrap();
        echo(&mut new).unwrap();
        proxy.set(Path::Stalled);
        new.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(ends(&mut new));
        proxy.set(Path::Open);
        new.set_read_timeout(None).unwrap();
        new.read_exact(&mut [0]).unwrap();
    }
}
