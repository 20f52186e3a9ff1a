//! Bytes on a socket, for requests that no well-behaved client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// Sends `request` unchanged and reads until the server closes.
pub(crate) async fn exchange(authority: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_to_end(&mut stream).await
}

/// Reads until the server closes.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    // A reset ends an answer too; the bytes before it count.
    drop(tokio::time::timeout(PATIENCE, reading).await.unwrap());
    answer
}

/// Reads the head of an answer, up to the empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let reading = stream.read_exact(&mut byte);
        tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
