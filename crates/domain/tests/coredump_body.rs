//! Every row of the tables of contract §6.6, and bodies of other formats.

use std::io::Cursor;

use bytes::Bytes;
use coredock_domain::coredumps::body::{Container, Unwrapped, build_id, unwrap};
use coredock_domain::digest::Sha256Digest;
use coredock_testkit::coredumps::{CoreBuilder, base64_console, gzip, raw, strip};

const BUILD: &str = "64d3738c1";
const ESP32C6: u16 = 13;
const EM_XTENSA: u16 = 0x5e;
const TASK_LIST_VERSIONS: [u16; 3] = [0x0001, 0x0002, 0x0003];
const ELF_VERSIONS: [u16; 5] = [0x0100, 0x0101, 0x0102, 0x0103, 0x0104];

fn core() -> CoreBuilder {
    CoreBuilder::new()
        .note("CORE", 1, &[1; 204])
        .segment(0x4080_0000, &[2; 333])
        .note("ESP_EXTRA_INFO", 677, &[3; 24])
        .note("ESP_PANIC_DETAILS", 679, b"abort() was called")
}

fn elf() -> Vec<u8> {
    core().elf()
}

fn all_versions() -> impl Iterator<Item = (u16, Vec<u8>)> {
    let lists = TASK_LIST_VERSIONS.map(|version| (version, raw(version, ESP32C6, &[5; 100])));
    let elves = ELF_VERSIONS.map(|version| (version, raw(version, ESP32C6, &elf())));
    lists.into_iter().chain(elves)
}

fn unwrapped(body: &[u8]) -> Unwrapped {
    unwrap(&Bytes::copy_from_slice(body))
}

fn build_of(body: &[u8]) -> Option<String> {
    build_id(&mut Cursor::new(body)).map(|build| build.as_str().to_owned())
}

#[track_caller]
fn assert_dump(body: &[u8], container: Container, expected: &[u8]) {
    let read = unwrapped(body);
    assert_eq!((read.container, read.salvaged), (container, false));
    assert!(read.bytes == expected);
}

#[track_caller]
fn assert_salvaged(body: &[u8], container: Container, expected: &[u8]) {
    let read = unwrapped(body);
    assert_eq!((read.container, read.salvaged), (container, true));
    assert!(read.bytes == expected);
}

/// The body is not unwrapped.
#[track_caller]
fn assert_unread(body: &[u8], container: Container) {
    assert_dump(body, container, body);
    assert!(!container.is_dump());
}

#[test]
fn a_bare_elf_is_not_changed() {
    let padded = [&elf()[..], &[0xff; 64]].concat();
    for body in [elf(), padded, b"\x7fELF".to_vec()] {
        assert_dump(&body, Container::Elf, &body);
    }
}

#[test]
fn a_raw_image_of_every_version_stays_a_raw_image() {
    for (_, image) in all_versions() {
        assert_dump(&image, Container::Raw, &image);
    }
}

#[test]
fn bytes_behind_a_raw_image_are_cut() {
    for (_, image) in all_versions() {
        for filler in [&[0xff; 4096][..], &[0], &image] {
            assert_dump(&[&image, filler].concat(), Container::Raw, &image);
        }
    }
}

#[test]
fn a_raw_image_that_is_not_whole_is_salvaged() {
    for (_, image) in all_versions() {
        for length in [8, 30, image.len() / 2, image.len() - 1] {
            let truncated = &image[..length];
            assert_salvaged(truncated, Container::Raw, truncated);
        }
        assert_unread(&image[..7], Container::Unknown);
    }
}

#[test]
fn a_raw_image_with_a_wrong_checksum_is_salvaged() {
    for (version, image) in all_versions() {
        let header = if version == 0x0104 { 8 } else { 12 };
        for damaged_at in [header, image.len() / 2, image.len() - 1] {
            let mut damaged = image.clone();
            damaged[damaged_at] ^= 1;
            assert_salvaged(&damaged, Container::Raw, &damaged);
        }
    }
}

#[test]
fn a_raw_image_with_a_wrong_length_is_not_cut() {
    for (_, image) in all_versions() {
        for length in [0_u32, 1, 12, 19, u32::MAX] {
            let mut wrong = image.clone();
            wrong[..4].copy_from_slice(&length.to_le_bytes());
            assert_salvaged(&wrong, Container::Raw, &wrong);
        }
    }
}

#[test]
fn an_elf_that_lacks_its_start_gets_it_back() {
    for core in [core(), core().machine(EM_XTENSA)] {
        for missing in [4, 12] {
            for tail in [0, 4, 28] {
                let tail = vec![0xa5; tail];
                let whole = [core.elf(), tail.clone()].concat();
                let body = strip(&core.elf(), missing, &tail);
                assert_salvaged(&body, Container::StrippedElf, &whole);
                assert_eq!(build_of(&body).as_deref(), Some(BUILD));
            }
        }
    }
}

/// Contract §4.7: 24 bytes off the start, 4 off the end, or 32 for a version that ends in 3.
#[test]
fn the_bodies_which_the_existing_device_cuts_are_read_for_every_version() {
    for (version, container) in [
        (0x0100, Container::StrippedElf),
        (0x0101, Container::StrippedElf),
        (0x0102, Container::Elf),
        (0x0103, Container::Elf),
        (0x0104, Container::StrippedElf),
    ] {
        let image = raw(version, ESP32C6, &elf());
        let tail = if version == 0x0103 { 32 } else { 4 };
        let body = &image[24..image.len() - tail];
        let read = unwrapped(body);
        assert_eq!(read.container, container, "{version:#06x}");
        assert_eq!(read.salvaged, container == Container::StrippedElf);
        assert!(read.bytes.starts_with(&elf()) && read.bytes.len() <= elf().len() + 28);
        assert_eq!(build_of(body).as_deref(), Some(BUILD));
    }
}

/// Bodies without wrappings, and what they are unwrapped to.
fn bare_bodies() -> Vec<(Vec<u8>, Unwrapped)> {
    let (elf, image) = (elf(), raw(0x0104, ESP32C6, &elf()));
    let reading = |container, salvaged, bytes: &[u8]| Unwrapped {
        container,
        salvaged,
        bytes: Bytes::copy_from_slice(bytes),
    };
    vec![
        (elf.clone(), reading(Container::Elf, false, &elf)),
        (image.clone(), reading(Container::Raw, false, &image)),
        (image[..99].to_vec(), reading(Container::Raw, true, &image[..99])),
        (strip(&elf, 12, &[]), reading(Container::StrippedElf, true, &elf)),
        (strip(&elf, 4, &[]), reading(Container::StrippedElf, true, &elf)),
    ]
}

type Wrap = fn(&[u8]) -> Vec<u8>;

#[test]
fn two_wrappings_are_removed_and_three_are_not() {
    let wrappings = [gzip as Wrap, |body| base64_console(body, 48)];
    for (body, expected) in bare_bodies() {
        for inner in wrappings {
            assert_eq!(unwrapped(&inner(&body)), expected);
            for outer in wrappings {
                let twice = outer(&inner(&body));
                assert_eq!(unwrapped(&twice), expected);
                for outermost in wrappings {
                    let thrice = outermost(&twice);
                    assert!(!unwrapped(&thrice).container.is_dump());
                    assert_eq!(unwrapped(&thrice).bytes, thrice);
                }
            }
        }
    }
}

#[test]
fn a_wrapped_body_of_unknown_content_is_named_after_its_innermost_wrapping() {
    let garbage = &[0xee; 400];
    let text = |body: &[u8]| base64_console(body, 48);
    assert_unread(&gzip(garbage), Container::Gzip);
    assert_unread(&gzip(b""), Container::Gzip);
    assert_unread(&text(garbage), Container::Base64);
    assert_unread(&gzip(&text(garbage)), Container::Base64);
    assert_unread(&text(&gzip(garbage)), Container::Gzip);
    assert_unread(&gzip(&gzip(&gzip(&elf()))), Container::Gzip);
}

#[test]
fn a_body_of_unknown_format_is_not_changed() {
    let letters = (0..5000).map(|at| b"not a dump, only letters\n"[at % 25]).collect();
    let other_elf_version = [&[0, 16, 0, 0, 5, 1, 13, 0][..], &elf()].concat();
    for body in [vec![], vec![0], vec![0; 4096], vec![0xff; 4096], letters, other_elf_version] {
        assert_unread(&body, Container::Unknown);
        assert_eq!(build_of(&body), None);
    }
}

#[test]
fn a_damaged_gzip_file_is_read_as_far_as_it_goes() {
    // Digests do not compress, so a truncated file inflates to many bytes.
    let noise: Vec<u8> =
        (0..1250_u32).flat_map(|at| *Sha256Digest::of(&at.to_le_bytes()).bytes()).collect();
    let elf = core().segment(0x4090_0000, &noise).elf();
    let packed = gzip(&elf);
    assert_dump(&packed, Container::Elf, &elf);
    let mut wrong_sum = packed.clone();
    *wrong_sum.iter_mut().nth_back(5).unwrap() ^= 1;
    assert_salvaged(&wrong_sum, Container::Elf, &elf);
    assert_salvaged(&[&packed[..], &[0xff; 9]].concat(), Container::Elf, &elf);
    let read = unwrapped(&packed[..packed.len() / 2]);
    assert_eq!((read.container, read.salvaged), (Container::Elf, true));
    assert!(read.bytes.len() > 10_000 && elf.starts_with(&read.bytes));
    for cut in [2, 10, 12] {
        assert_unread(&packed[..cut], Container::Unknown);
    }
}

#[test]
fn a_raw_image_whose_length_looks_like_gzip_is_a_raw_image() {
    for length in [0x8b1f_u32, 0x0008_8b1f] {
        let image = raw(0x0102, ESP32C6, &vec![0xff; length as usize - 28]);
        assert_eq!(image[..2], [0x1f, 0x8b]);
        assert_dump(&image, Container::Raw, &image);
    }
}

#[test]
fn sixty_four_mebibytes_may_be_inflated_and_no_byte_more() {
    const LIMIT: usize = 64 << 20;
    let image = raw(0x0104, ESP32C6, &elf());
    let mebibyte = gzip(&vec![0; 1 << 20]);
    let rest = gzip(&vec![0; (1 << 20) - image.len()]);
    let full = [gzip(&image), rest, mebibyte.repeat(LIMIT / (1 << 20) - 1)].concat();
    assert_dump(&full, Container::Raw, &image);
    assert_unread(&[full, gzip(&[0])].concat(), Container::Unknown);
    // 16 GiB, and the same in another wrapping.
    let bomb = [gzip(&image), mebibyte.repeat(16 * 1024)].concat();
    assert_unread(&bomb, Container::Unknown);
    assert_unread(&gzip(&bomb), Container::Gzip);
}

#[test]
fn console_text_is_read_through_its_noise() {
    let image = raw(0x0104, ESP32C6, &elf());
    let clean = String::from_utf8(base64_console(&image, 48)).unwrap();
    let noisy = clean.replace("\r\n", "\r\n\x1b[0;32mI (123) wifi: beacon\x1b[0m\r\n");
    let coloured = clean.replace("\r\n", "\x1b[0m\r\n\x1b[1m");
    let bare_lines: Vec<&str> = clean.lines().filter(|line| !line.contains(' ')).collect();
    let cut_markers = bare_lines.join("\n");
    let prompts = format!("Rebooting...\nI (9) boot: ok\n{clean}I (10) x: done\nabcd\n");
    let prefixed = prompts.replace("=====", "\x1b[31mE (55) esp_core_dump_uart: =====");
    let twice = format!("{}{clean}{clean}", &clean[..200]);
    let serial_noise = format!("\u{fffd}\u{fffd}\0\x01{clean}");
    for text in [clean, noisy, coloured, cut_markers, prompts, prefixed, twice, serial_noise] {
        assert_dump(text.as_bytes(), Container::Raw, &image);
    }
}

#[test]
fn each_line_of_any_length_has_its_own_padding() {
    let image = raw(0x0102, ESP32C6, &elf());
    for line_len in (1..=60).chain([image.len() - 1, image.len()]) {
        assert_dump(&base64_console(&image, line_len), Container::Raw, &image);
    }
}

#[test]
fn a_console_text_that_stops_early_gives_a_truncated_dump() {
    let image = raw(0x0102, ESP32C6, &elf());
    let text = base64_console(&image, 48);
    let read = unwrapped(&text[..text.len() / 2]);
    assert_eq!((read.container, read.salvaged), (Container::Raw, true));
    assert!(read.bytes.len() > image.len() / 3 && image.starts_with(&read.bytes));
}

#[test]
fn containers_have_the_names_of_reports() {
    let names = [
        (Container::Elf, "elf"),
        (Container::Raw, "raw"),
        (Container::StrippedElf, "stripped-elf"),
        (Container::Gzip, "gzip"),
        (Container::Base64, "base64"),
        (Container::Unknown, "unknown"),
    ];
    for (container, name) in names {
        assert_eq!(container.as_str(), name);
    }
}
