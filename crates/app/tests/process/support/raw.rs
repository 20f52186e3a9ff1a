//! Connections that are read and written at the pace of a test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A new connection.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Requests a firmware image and reads only the head of the answer.
pub(crate) fn begin_download(address: SocketAddr, device_key: &str) -> TcpStream {
    let mut stream = connect(address);
    let request = format!(
        "GET /api/iot/firmware?device_key={device_key} HTTP/1.1\r\nHost: localhost\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream
}

/// Declares a bundle for `demo` and sends its first `sent` bytes.
pub(crate) fn begin_upload(address: SocketAddr, bundle: &[u8], sent: usize) -> TcpStream {
    let mut stream = connect(address);
    let head = format!(
        "POST /api/pipeline/models/demo/firmware HTTP/1.1\r\nHost: localhost\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        bundle.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bundle[..sent]).unwrap();
    stream
}

/// Reads the head of an answer, up to the empty line.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads until the server closes or resets the connection.
pub(crate) fn read_rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // The bytes before a reset count.
    drop(stream.read_to_end(&mut rest));
    rest
}
