//! An HTTP client of one connection, thin enough not to be what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);

/// One kept-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    /// The entity tag as it was sent.
    pub etag: Option<String>,
    /// Whether the server ends the connection behind it.
    pub closes: bool,
    pub body: Vec<u8>,
}

/// What the lines between status and body say.
#[derive(Default)]
struct Fields {
    length: Option<usize>,
    etag: Option<String>,
    closes: bool,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// `GET path`
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: xtask\r\n\r\n").as_bytes(), &[])
    }

    /// `POST path` with `body`.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        self.send("POST", path, body)
    }

    /// `method path` with `body`.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.send_with_id("", method, path, body)
    }

    /// `method path` with `body` and a request id, unless that is empty.
    pub fn send_with_id(
        &mut self,
        id: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Answer> {
        let id = if id.is_empty() { String::new() } else { format!("X-Request-ID: {id}\r\n") };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: xtask\r\n{id}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(head.as_bytes(), body)
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Answer> {
        let stream = self.stream.get_mut();
        stream.write_all(head)?;
        stream.write_all(body)?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).context("no status")?.parse()?;
        let fields = self.fields()?;
        let length = if matches!(status, 204 | 304) { Some(0) } else { fields.length };
        let mut body = vec![0; length.context("an answer without Content-Length")?];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, etag: fields.etag, closes: fields.closes, body })
    }

    fn fields(&mut self) -> Result<Fields> {
        let mut fields = Fields::default();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(fields) };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                fields.length = Some(value.parse()?);
            } else if name.eq_ignore_ascii_case("etag") {
                fields.etag = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("connection") {
                fields.closes = value.eq_ignore_ascii_case("close");
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Answer {
    /// The body as JSON; another status is an error that shows it.
    pub fn json(&self, status: u16) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "status {} instead of {status}: {text}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {text}"))
    }
}
