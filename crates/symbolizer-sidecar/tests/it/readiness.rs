//! Whether the sidecar answers at all.

use std::net::Ipv4Addr;

use coredock_domain::Symbolizer;
use tokio::net::TcpListener;

use crate::support::{AMPLE, Setting, names, symbolizer};

#[tokio::test]
async fn a_sidecar_that_answers_anything_is_ready_and_gets_no_files() {
    let setting = Setting::new().await;
    assert!(setting.symbolizer.is_ready().await);
    assert_eq!(names(setting.shared.path()), [""; 0]);
    assert!(setting.sidecar.calls().is_empty());
}

#[tokio::test]
async fn without_the_shared_directory_it_is_not_ready() {
    let setting = Setting::new().await;
    let absent = setting.shared.path().join("absent");
    assert!(!symbolizer(setting.sidecar.url(), &absent, AMPLE).is_ready().await);
    let file = setting.shared.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    assert!(!symbolizer(setting.sidecar.url(), &file, AMPLE).is_ready().await);
}

#[tokio::test]
async fn a_sidecar_that_is_down_or_silent_is_not_ready() {
    let setting = Setting::new().await;
    setting.sidecar.stop().await;
    assert!(!setting.symbolizer.is_ready().await);

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    assert!(!symbolizer(&url, setting.shared.path(), AMPLE).is_ready().await);
}
