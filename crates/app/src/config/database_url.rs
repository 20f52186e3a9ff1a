//! `DATABASE_URL`.

use std::path::PathBuf;

/// The file of a `sqlite:` URL: `sqlite:FILE` or `sqlite://FILE`, so that three slashes begin an
/// absolute path. The error never repeats the URL, which may hold a password.
pub(super) fn sqlite_path(url: &str) -> Result<PathBuf, String> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "sqlite" => {
            let rest = &url["sqlite:".len()..];
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.contains(":memory:") || path.contains('?') {
                return Err("must name a file, as in sqlite://./data/coredock.db".into());
            }
            Ok(PathBuf::from(path))
        }
        "postgres" | "postgresql" | "postgresql+psycopg" => {
            Err("switches on PostgreSQL, which this version does not have".into())
        }
        _ => Err("must begin with sqlite:, postgres: or postgresql:".into()),
    }
}
