//! A proxy in front of an S3 server, which injects faults.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::s3::S3TestServer;

/// Bytes of a request which are read at once.
const STEP: usize = 256 << 10;

/// Passes requests on unchanged unless a rule applies; ends when dropped.
pub struct S3Proxy {
    address: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// A fault in the exchange of a request.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The proxy gives this answer; the server does not get the request.
    Answer { status: u16, body: String },
    /// The server does not get the request, and the client gets no answer.
    Silence,
    /// The body is read in steps of 256 KiB with a pause before each.
    SlowRequest(Duration),
    /// One bit in the middle of the body changes on its way to the server.
    CorruptRequest,
    /// The connection closes after this many bytes of the answer.
    CutAnswer(usize),
    /// The answer stops after this many bytes, but the connection stays open.
    StallAnswer(usize),
    /// The answer is sent in this many pieces with a pause after each.
    SlowAnswer(u32, Duration),
}

impl Trouble {
    /// An error document of S3.
    pub fn error(status: u16, code: &str) -> Self {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        let body = format!("{head}<Error><Code>{code}</Code><Message>no</Message></Error>");
        Self::Answer { status, body }
    }

    /// An HTML page, as proxies and load balancers send.
    pub fn page(status: u16) -> Self {
        Self::Answer { status, body: "<html><body>Hello</body></html>".to_owned() }
    }
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    requests: Vec<String>,
}

struct Rule {
    /// Part of the first line of a request.
    line: String,
    trouble: Trouble,
    times: usize,
}

impl S3Proxy {
    /// Listens on a free port of 127.0.0.1; must be called in a runtime.
    pub fn start(server: &S3TestServer) -> Self {
        let listener = listen().expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = server.endpoint.trim_start_matches("http://").to_owned();
        let shared = Arc::new(Shared { upstream, state: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, _tasks: tasks }
    }

    /// `server`, reached through the proxy.
    pub fn server(&self, server: &S3TestServer) -> S3TestServer {
        S3TestServer { endpoint: self.address.clone(), ..server.clone() }
    }

    /// Applies `trouble` to the next `times` requests whose first line (`PUT /bucket/key HTTP/1.1`)
    /// contains `line`.
    pub fn inject(&self, line: &str, trouble: Trouble, times: usize) {
        let rule = Rule { line: line.to_owned(), trouble, times };
        self.shared.lock().rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.shared.lock().rules.clear();
    }

    /// Method and target of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the request and returns the trouble of the first rule which applies to it.
    fn begin(&self, line: &str) -> Option<Trouble> {
        let mut state = self.lock();
        state.requests.push(line.trim_end_matches(" HTTP/1.1").to_owned());
        let rule =
            state.rules.iter_mut().find(|rule| rule.times > 0 && line.contains(&rule.line))?;
        rule.times -= 1;
        Some(rule.trouble.clone())
    }
}

/// With small buffers, so that a sender notices when its body is read slowly.
fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(u32::try_from(STEP).unwrap_or_default())?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(64)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                let shared = Arc::clone(&shared);
                connections.spawn(async move { drop(serve(socket, shared).await) });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request per connection. An error means that client or server hung up, which is allowed.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let head = read_head(&mut client).await?;
    let trouble = shared.begin(head.lines().next().unwrap_or_default());
    let mut body = vec![0; body_length(&head)];
    for step in body.chunks_mut(STEP) {
        if let Some(Trouble::SlowRequest(pause)) = trouble {
            sleep(pause).await;
        }
        client.read_exact(step).await?;
    }
    match trouble {
        Some(Trouble::Answer { status, body }) => {
            return client.write_all(render(status, &body).as_bytes()).await;
        }
        Some(Trouble::Silence) => return wait_for_end(&mut client).await,
        Some(Trouble::CorruptRequest) => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(&shared.upstream).await?;
    server.write_all(closing(&head).as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    pass_on(&mut client, &answer, trouble).await
}

async fn pass_on(
    client: &mut TcpStream,
    answer: &[u8],
    trouble: Option<Trouble>,
) -> std::io::Result<()> {
    match trouble {
        Some(Trouble::CutAnswer(length)) => client.write_all(&answer[..length]).await,
        Some(Trouble::StallAnswer(length)) => {
            client.write_all(&answer[..length]).await?;
            wait_for_end(client).await
        }
        Some(Trouble::SlowAnswer(pieces, pause)) => {
            let length = answer.len().div_ceil(usize::try_from(pieces).unwrap_or(1));
            for piece in answer.chunks(length) {
                client.write_all(piece).await?;
                sleep(pause).await;
            }
            Ok(())
        }
        _ => client.write_all(answer).await,
    }
}

/// Waits until the client hangs up.
async fn wait_for_end(client: &mut TcpStream) -> std::io::Result<()> {
    let mut more = [0; 1024];
    while client.read(&mut more).await? > 0 {}
    Ok(())
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    String::from_utf8(head).map_err(std::io::Error::other)
}

fn body_length(head: &str) -> usize {
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut length = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.find_map(|(_, value)| value.parse().ok()).unwrap_or_default()
}

/// The head with `connection: close`, so that the end of the connection is the end of the answer.
fn closing(head: &str) -> String {
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    format!("{first}\r\nconnection: close\r\n{rest}")
}

fn render(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Trouble\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
