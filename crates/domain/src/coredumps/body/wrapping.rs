//! The wrappings of dumps: gzip, and the Base64 text of a console (contract §6.6).

use std::borrow::Cow;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

const MAX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

const START: &[u8] = b"CORE DUMP START";
const END: &[u8] = b"CORE DUMP END";
/// The shortest header of a raw image with its checksum: no dump is shorter, but a few letters
/// which are Base64 by chance are.
const MIN_DECODED_BYTES: usize = 20;
/// One in so many bytes may be no text: the noise of a serial line while a device resets.
const NOISE_RATIO: usize = 8;
const ESCAPE: u8 = 0x1B;

/// The content of a gzip file.
pub(super) struct Inflated {
    pub(super) bytes: Bytes,
    /// `false` when the file is damaged or truncated.
    pub(super) whole: bool,
}

/// Inflates a gzip file as far as it can be read; `None` if the body is not a gzip file, is damaged
/// at its start, or inflates to more than 64 MiB.
pub(super) fn inflate(body: &[u8]) -> Option<Inflated> {
    if !body.starts_with(&GZIP_MAGIC) {
        return None;
    }
    let mut bytes = Vec::new();
    let mut limited = MultiGzDecoder::new(body).take(MAX_INFLATED_BYTES);
    let whole = limited.read_to_end(&mut bytes).is_ok();
    let more = whole && limited.into_inner().read(&mut [0]).is_ok_and(|read| read > 0);
    if more || (!whole && bytes.is_empty()) {
        return None;
    }
    Some(Inflated { bytes: bytes.into(), whole })
}

/// Decodes the lines between the first end marker and the start marker before it. If a marker is
/// missing, the lines from the start or to the end of the text. `None` if the body is not a text or
/// does not contain Base64.
pub(super) fn decode_console(body: &[u8]) -> Option<Bytes> {
    if !is_text(body) {
        return None;
    }
    let mut decoded = Vec::new();
    let mut started = false;
    let lines = body.split(|byte| matches!(byte, b'\n' | b'\r'));
    for line in lines.filter(|line| !line.is_empty()) {
        if contains(line, START) {
            // A device which resets while it prints starts again from the beginning.
            decoded.clear();
            started = true;
        } else if started && contains(line, END) {
            break;
        } else {
            decode_line(line, &mut decoded);
        }
    }
    (decoded.len() >= MIN_DECODED_BYTES).then(|| decoded.into())
}

/// Appends the decoded line, or nothing if it is not Base64. Each line has its own padding.
fn decode_line(line: &[u8], decoded: &mut Vec<u8>) {
    let line = without_escapes(line);
    let before = decoded.len();
    if STANDARD.decode_vec(line.trim_ascii(), decoded).is_err() {
        decoded.truncate(before);
    }
}

/// The line without escape sequences, for instance of colours (ECMA-48 §5.4).
fn without_escapes(line: &[u8]) -> Cow<'_, [u8]> {
    let mut pieces = line.split(|byte| *byte == ESCAPE);
    let before = pieces.next().unwrap_or_default();
    if before.len() == line.len() {
        return Cow::Borrowed(line);
    }
    let after = pieces.flat_map(|piece| {
        let Some(sequence) = piece.strip_prefix(b"[") else { return piece };
        let last = sequence.iter().position(|byte| matches!(byte, 0x40..=0x7E));
        last.and_then(|last| sequence.get(last + 1..)).unwrap_or_default()
    });
    Cow::Owned(before.iter().chain(after).copied().collect())
}

/// Of random bytes more than half are not text.
fn is_text(body: &[u8]) -> bool {
    let text = |byte: &u8| matches!(*byte, b' '..=b'~' | b'\t'..=b'\r' | ESCAPE);
    body.iter().filter(|byte| !text(byte)).count() <= body.len() / NOISE_RATIO
}

fn contains(line: &[u8], marker: &[u8]) -> bool {
    line.windows(marker.len()).any(|window| window == marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        decode_console(text.as_bytes()).map(Vec::from)
    }

    fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    #[test]
    fn lines_are_decoded_one_by_one() {
        let text = format!("{}\r\n{}\n{}", encode(&[1; 22]), encode(&[2]), encode(&[3, 3, 3]));
        assert_eq!(decode(&text).unwrap(), [&[1; 22][..], &[2, 3, 3, 3]].concat());
    }

    #[test]
    fn what_is_outside_of_the_markers_is_not_decoded() {
        let [a, b, c] = [[1; 30], [2; 30], [3; 30]].map(|part| encode(&part));
        let (start, end) = ("I (9) x: == CORE DUMP START ==", "\x1b[0m== CORE DUMP END ==\r");
        for (lines, expected) in [
            (vec![&*a, start, &b, end, &c], vec![2; 30]),
            (vec![start, &a, start, &b, end, &c, end], vec![2; 30]),
            (vec![start, &a, end, start, &b, end], vec![1; 30]),
            (vec![&a, end, start, &b, end], vec![2; 30]),
            (vec![&a, start, &b], vec![2; 30]),
            (vec![&a, end], vec![1; 30]),
            (vec![&a], vec![1; 30]),
        ] {
            assert_eq!(decode(&lines.join("\n")).unwrap(), expected, "{lines:?}");
        }
        assert_eq!(decode(&[&a, start, end, &b].join("\n")), None);
    }

    #[test]
    fn noise_between_lines_is_skipped() {
        let part = encode(&[7; 20]);
        for noise in [
            "",
            "I (123) esp_core_dump_uart: Press Enter to print core dump to UART...",
            "\x1b[0;32mI (123) wifi: ok\x1b[0m",
            "Guru Meditation Error: Core  0 panic'ed",
            "abc",
            "abcde",
            "ab=c",
            "ab-_",
            "YQ=\u{fffd}",
            "---",
        ] {
            let text = format!("{part}\n{noise}\r\n  \x1b[0m{part}\x1b[31m\t\n");
            assert_eq!(decode(&text).unwrap(), [7; 40], "{noise:?}");
        }
    }

    #[test]
    fn a_few_letters_are_not_a_dump() {
        assert_eq!(decode(""), None);
        assert_eq!(decode("abcd"), None);
        assert_eq!(decode("done\nfail\nwifi\nidle"), None);
        assert_eq!(decode(&encode(&[0; MIN_DECODED_BYTES - 1])), None);
        assert!(decode(&encode(&[0; MIN_DECODED_BYTES])).is_some());
    }

    #[test]
    fn binary_around_base64_is_not_text() {
        let line = encode(&[0; 33]);
        let mut body = format!("{line}\n{}", "\0".repeat(line.len() / 7)).into_bytes();
        assert!(decode_console(&body).is_some(), "a little noise");
        body.extend([0xff; 9]);
        assert!(decode_console(&body).is_none());
    }

    #[test]
    fn escape_sequences_are_removed_anywhere_in_a_line() {
        for (line, expected) in [
            ("plain", "plain"),
            ("\x1b[0;32ma\x1b[0mb", "ab"),
            ("\x1b[mx", "x"),
            ("a\x1b[12", "a"),
            ("a\x1bb", "ab"),
            ("\x1b", ""),
            ("\x1b\x1b[", ""),
        ] {
            assert_eq!(&*without_escapes(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn only_gzip_is_inflated() {
        for body in [&b""[..], &[0x1f], &[0x1f, 0x8b], b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"PK\x03\x04"]
        {
            assert!(inflate(body).is_none(), "{body:?}");
        }
    }
}
