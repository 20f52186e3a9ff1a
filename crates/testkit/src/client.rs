//! An HTTP client with one connection, small enough not to distort measurements.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// One kept-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

pub struct Answer {
    pub status: u16,
    /// The entity tag as it was sent.
    pub etag: Option<String>,
    /// Whether the server closes the connection after it.
    pub closes: bool,
    pub body: Vec<u8>,
}

/// The header fields which the client reads.
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
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream) })
    }

    /// `GET path`
    pub fn get(&mut self, path: &str) -> Result<Answer> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(), &[])
    }

    /// `POST path` with `body`.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer> {
        self.send("POST", path, body)
    }

    /// `POST path` with an encoded form.
    pub fn post_form(&mut self, path: &str, form: &str) -> Result<Answer> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n",
            form.len()
        );
        self.exchange(head.as_bytes(), form.as_bytes())
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
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{id}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(head.as_bytes(), body)
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Answer> {
        let stream = self.stream.get_mut();
        stream.write_all(head)?;
        stream.write_all(body)?;
        let line = self.line()?;
        let status = line.split(' ').nth(1);
        let status = status.with_context(|| format!("expected a status line, found {line}"))?;
        let status = status.parse()?;
        let fields = self.fields()?;
        let length = if matches!(status, 204 | 304) { Some(0) } else { fields.length };
        let mut body = vec![0; length.context("the answer has no Content-Length")?];
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
    /// The body as JSON; another status is an error.
    pub fn json(&self, status: u16) -> Result<Value> {
        self.check_status(status)?;
        serde_json::from_slice(&self.body)
            .with_context(|| format!("expected JSON, found {}", self.text()))
    }

    /// Another status is an error, which shows the body.
    pub fn check_status(&self, status: u16) -> Result<()> {
        let found = self.status;
        ensure!(found == status, "expected status {status}, found {found}: {}", self.text());
        Ok(())
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}
