//! How answers of the sidecar end an attempt (contract §6.5).

use coredock_domain::Symbolizer;
use coredock_domain::symbolication::symbolizer::{CrashReport, SymbolizerError};
use coredock_symbolizer_sidecar::{SidecarOptions, SidecarSetupError, SidecarSymbolizer};
use coredock_testkit::sidecar::Reply;

use crate::support::{AMPLE, SHORT, Setting, job, symbolizer};

fn text(text: &str) -> CrashReport {
    CrashReport { text: text.into(), structured: None, signature: None }
}

#[tokio::test]
async fn v46_two_failures_and_a_report_are_three_calls_for_the_same_files() {
    let setting = Setting::new().await;
    assert_eq!(setting.symbolizer.engine(), "sidecar");
    setting.sidecar.script([Reply::status(500), Reply::status(500), Reply::output("bt")]);
    assert!(setting.failure().await.contains("500"));
    assert!(setting.failure().await.contains("500"));
    assert_eq!(setting.attempt().await.unwrap(), text("bt"));
    let calls = setting.sidecar.calls();
    assert_eq!(calls.len(), 3);
    for call in calls {
        assert_eq!(call.raw_query, "core=coredump_17.dmp&elf=demo-17.elf&chip=esp32s3");
        assert_eq!(call.core_bytes.as_deref(), Some(&b"dump 17"[..]));
        assert_eq!(call.elf_bytes.as_deref(), Some(&b"the elf"[..]));
    }
}

#[tokio::test]
async fn the_output_is_the_unchanged_report_and_may_be_absent() {
    let setting = Setting::new().await;
    let odd = " a\0b\r\n\u{1b}[0m é \n";
    for (reply, expected) in [
        (Reply::output(odd), odd),
        (Reply::body(200, r#"{"status":"done"}"#), ""),
        (Reply::body(200, r#"{"output":null}"#), ""),
        (Reply::body(201, r#"{"output":"made"}"#), "made"),
        (Reply::body(299, r#"{"output":"made"}"#), "made"),
    ] {
        setting.sidecar.script([reply]);
        assert_eq!(setting.attempt().await.unwrap(), text(expected));
    }
}

#[tokio::test]
async fn every_4xx_is_a_final_refusal() {
    let setting = Setting::new().await;
    for status in [400, 401, 404, 408, 422, 429, 499] {
        let reason = setting.refusal(Reply::status(status)).await;
        assert_eq!(reason, format!("the sidecar refused the dump with status {status}"));
    }
}

#[tokio::test]
async fn a_refusal_shows_an_excerpt_of_what_the_sidecar_says() {
    let setting = Setting::new().await;
    let directory = setting.shared.path().display();
    let (url, longest) = (setting.sidecar.url(), "é".repeat(299));
    for (body, expected) in [
        ("no such chip\n".into(), ": no such chip"),
        (r#"{"detail":"not\nan ELF\u0007","more":[]}"#.into(), ": not an ELF"),
        (format!("cannot read {directory}/coredump_17.dmp"), ": cannot read coredump_17.dmp"),
        (format!("{{\"error\":\"GET {url}/parse-coredump failed\"}}"), ": GET … failed"),
        (format!("{{\"message\":\"{longest}éé\"}}"), &*format!(": {longest}…")),
        ("<h1>Bad Request</h1>".into(), ""),
        ("\u{1b}[2J".into(), ""),
        ("long ".repeat(20_000), ""),
    ] {
        let reason = setting.refusal(Reply::body(422, body)).await;
        assert_eq!(reason, format!("the sidecar refused the dump with status 422{expected}"));
    }
}

#[tokio::test]
async fn every_other_status_is_worth_another_attempt() {
    let setting = Setting::new().await;
    for status in [101, 300, 301, 304, 500, 502, 503, 599, 600, 999] {
        setting.sidecar.script([Reply::status(status)]);
        assert_eq!(setting.failure().await, format!("the sidecar answered with status {status}"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let setting = Setting::new().await;
    setting.sidecar.script([Reply::redirect()]);
    assert_eq!(setting.failure().await, "the sidecar answered with status 302");
    assert_eq!(setting.sidecar.calls().len(), 1);
}

#[tokio::test]
async fn bad_json_is_worth_another_attempt() {
    let setting = Setting::new().await;
    for body in ["", "bt", "null", "[]", "[\"bt\"]", "\"bt\"", "{\"output\":", "{\"output\":17}"] {
        setting.sidecar.script([Reply::body(200, body)]);
        let reason = setting.failure().await;
        assert!(reason.starts_with("expected a JSON object"), "{body}: {reason}");
    }
    setting.sidecar.script([Reply::status(204)]);
    assert!(setting.failure().await.contains("expected a JSON object"));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_worth_another_attempt() {
    let setting = Setting::new().await;
    setting.sidecar.script([Reply::cut()]);
    assert_eq!(
        setting.failure().await,
        "the connection to the sidecar broke off during its answer"
    );
}

#[tokio::test]
async fn an_answer_of_16_mib_is_read_and_a_longer_one_is_not() {
    let setting = Setting::new().await;
    let output = "x".repeat(16 * 1024 * 1024 - r#"{"output":""}"#.len());
    setting.sidecar.script([Reply::output(&output), Reply::output(&format!("{output}x"))]);
    assert_eq!(setting.attempt().await.unwrap().text, output);
    let expected = "expected an answer of at most 16 MiB from the sidecar, found a longer one";
    assert_eq!(setting.failure().await, expected);
}

#[tokio::test]
async fn a_sidecar_that_does_not_answer_in_time_is_worth_another_attempt() {
    let setting = Setting::with_timeout(SHORT).await;
    setting.sidecar.script([Reply::hang(), Reply::after(AMPLE)]);
    for _ in 0..2 {
        assert_eq!(setting.failure().await, "the sidecar did not answer in time");
    }
    assert_eq!(setting.sidecar.calls().len(), 2);
    assert_eq!(setting.sidecar.calls()[0].elf_bytes.as_deref(), Some(&b"the elf"[..]));
}

#[tokio::test]
async fn a_sidecar_that_refuses_connections_is_worth_another_attempt() {
    let setting = Setting::new().await;
    let url = setting.sidecar.url().to_owned();
    setting.sidecar.stop().await;
    let symbolizer = symbolizer(&url, setting.shared.path(), AMPLE);
    let error = symbolizer.symbolicate(job(1, b"elf")).await.unwrap_err();
    let SymbolizerError::Failed { reason, source: Some(source) } = error else {
        panic!("not a failure: {error:?}");
    };
    assert_eq!(reason, "the sidecar could not be reached");
    assert!(!source.to_string().contains("parse-coredump"), "{source}");
    assert!(source.source().is_some());
}

#[tokio::test]
async fn an_odd_chip_arrives_unchanged() {
    let setting = Setting::new().await;
    let mut job = job(1, b"elf");
    job.dump.chip = "a b+c&core=d#e/é%41".into();
    let chip = job.dump.chip.clone();
    setting.symbolizer.symbolicate(job).await.unwrap();
    let call = setting.sidecar.calls().remove(0);
    assert_eq!((call.core.as_str(), call.chip), ("coredump_1.dmp", chip));
    assert!(call.raw_query.ends_with("&chip=a%20b%2Bc%26core%3Dd%23e%2F%C3%A9%2541"));
}

#[tokio::test]
async fn a_trailing_slash_of_the_url_is_dropped() {
    let setting = Setting::new().await;
    let url = format!("{}/", setting.sidecar.url());
    let symbolizer = symbolizer(&url, setting.shared.path(), AMPLE);
    assert_eq!(symbolizer.symbolicate(job(1, b"elf")).await.unwrap(), text("report"));
    assert!(symbolizer.is_ready().await);
}

#[test]
fn http_and_https_are_accepted_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let new = |url: &str| {
        let (url, directory) = (url.to_owned(), directory.path().to_owned());
        SidecarSymbolizer::new(SidecarOptions { url, directory, timeout: AMPLE })
    };
    for good in ["http://sidecar:8080", "https://sidecar.example/tools/", "http://[::1]:1"] {
        assert!(new(good).is_ok(), "{good}");
    }
    let unreadable = new("sidecar").err().unwrap();
    assert!(matches!(unreadable, SidecarSetupError::UnreadableUrl { .. }), "{unreadable:?}");
    let unusable = new("ftp://sidecar").err().unwrap();
    let message = "the URL of the symbolizer sidecar must start with http:// or https://";
    assert_eq!(unusable.to_string(), message);
}
