//! An S3 server for tests: s3s-fs, whose buckets are directories and whose objects are files.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Args)]
pub(crate) struct S3Server {
    /// Address to listen on; port 0 chooses a free port
    #[arg(long)]
    listen: SocketAddr,
    /// Directory of the buckets; must exist
    #[arg(long)]
    root: PathBuf,
    /// The only access key
    #[arg(long)]
    access_key: String,
    /// The secret of the access key
    #[arg(long)]
    secret_key: String,
}

impl S3Server {
    /// Serves until the process is killed. The first printed line is the address.
    pub(crate) fn run(self) -> Result<()> {
        let files = FileSystem::new(&self.root)
            .map_err(|error| anyhow!("cannot serve {}: {error:?}", self.root.display()))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(self.access_key, self.secret_key));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(self.listen, service.build()))
    }
}

async fn serve(address: SocketAddr, service: S3Service) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("http://{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // Otherwise small answers wait 40 ms for the acknowledgement of their head.
        stream.set_nodelay(true)?;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new());
        connections.spawn(http.serve_connection(TokioIo::new(stream), service.clone()));
        while connections.try_join_next().is_some() {}
    }
}
