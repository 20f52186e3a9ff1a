//! Settings of the artifact store.

use std::fmt;
use std::path::{Path, PathBuf};

use coredock_artifact_store::{OpenStoreError, S3Options};

use super::reader::Reader;

/// Where artifacts are stored (`ARTIFACT_STORE`).
#[derive(Debug, Clone)]
pub enum ArtifactStoreConfig {
    /// The directory `ARTIFACT_DIR`.
    Local(PathBuf),
    S3(S3Options),
}

impl fmt::Display for ArtifactStoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(directory) => write!(formatter, "directory {}", directory.display()),
            Self::S3(options) => write!(formatter, "S3 bucket {}", options.bucket),
        }
    }
}

/// Any of these settings selects S3 while `ARTIFACT_STORE` is `auto`.
const SELECTS_S3: [&str; 3] = ["S3_ENDPOINT_URL", "S3_BUCKET_NAME", "S3_ACCESS_KEY_ID"];

pub(super) fn read(reader: &mut Reader<'_>, data_dir: &Path) -> ArtifactStoreConfig {
    let is_s3 = match reader.text("ARTIFACT_STORE").as_str() {
        "s3" => true,
        "local" => false,
        _ => SELECTS_S3.iter().any(|name| reader.is_set(name)),
    };
    if !is_s3 {
        let directory = reader.optional("ARTIFACT_DIR").map(PathBuf::from);
        return ArtifactStoreConfig::Local(directory.unwrap_or_else(|| data_dir.join("artifacts")));
    }
    let endpoint = reader.optional("S3_ENDPOINT_URL");
    let path_style = "S3_FORCE_PATH_STYLE";
    let path_style = reader.is_set(path_style).then(|| reader.boolean(path_style));
    let options = S3Options {
        force_path_style: path_style.unwrap_or(endpoint.is_some()),
        endpoint,
        access_key_id: reader.optional("S3_ACCESS_KEY_ID"),
        secret_access_key: reader.optional("S3_SECRET_ACCESS_KEY"),
        bucket: reader.text("S3_BUCKET_NAME"),
        region: reader.text("S3_REGION"),
        use_ssl: reader.boolean("S3_USE_SSL"),
        timeout: reader.seconds("S3_TIMEOUT_SECONDS"),
    };
    match options.check() {
        Ok(()) => {}
        Err(OpenStoreError::Setting { name, problem }) => {
            reader.fault(format!("{name}: {problem}"));
        }
        Err(error) => reader.fault(format!("ARTIFACT_STORE: {error}")),
    }
    ArtifactStoreConfig::S3(options)
}
