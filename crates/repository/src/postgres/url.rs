//! `postgres:` URLs, whose TLS parameters have the meaning which libpq gives them.

use std::fmt;
use std::path::PathBuf;

use tokio_postgres::config::{Host, SslMode};

/// The port of a `PostgreSQL` server that names none.
const DEFAULT_PORT: u16 = 5432;

/// The address of a `PostgreSQL` database and the parameters of its connections. Its texts do not
/// contain the password.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Box<tokio_postgres::Config>,
    pub(super) tls: TlsMode,
}

/// The required security of connections (`sslmode`), with libpq's meanings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// No certificate is checked: `disable` without TLS; `prefer`, the default, and `require` with
    /// it.
    Encrypted,
    /// `verify-ca`, and `require` with `sslrootcert`: the certificate comes from a known authority.
    KnownAuthority(Roots),
    /// `verify-full`: the certificate also names this host.
    KnownHost(Roots),
}

/// The trusted certificate authorities (`sslrootcert`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities of the operating system.
    System,
    /// The authorities in this PEM file.
    File(PathBuf),
}

impl PostgresUrl {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`. The error never repeats the
    /// URL, which may contain a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        if !["postgres", "postgresql", "postgresql+psycopg"].contains(&scheme) {
            return Err("must begin with sqlite:, postgres: or postgresql:".into());
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => roots = Some(roots_of(value)?),
                _ => others.push(pair),
            }
        }
        let (ssl_mode, tls) = tls_of(mode.as_deref(), roots)?;
        let plain = format!("postgresql:{place}?{}", others.join("&"));
        let mut config: tokio_postgres::Config = plain.parse().map_err(|error| explain(&error))?;
        if config.get_hosts().is_empty() {
            return Err("must name a host, as in postgres://coredock@127.0.0.1/coredock".into());
        }
        config.ssl_mode(ssl_mode);
        Ok(Self { config: Box::new(config), tls })
    }

    /// The first TCP address, if there is one: hosts may also be directories of sockets.
    pub(super) fn address(&self) -> Option<(String, u16)> {
        let host = self.config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) => Some(name.clone()),
            Host::Unix(_) => None,
        })?;
        Some((host, self.config.get_ports().first().copied().unwrap_or(DEFAULT_PORT)))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("postgres://")?;
        if let Some(user) = self.config.get_user() {
            write!(formatter, "{user}@")?;
        }
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) if name.contains(':') => write!(formatter, "{separator}[{name}]")?,
                Host::Tcp(name) => write!(formatter, "{separator}{name}")?,
                Host::Unix(path) => write!(formatter, "{separator}{}", path.display())?,
            }
            if let Some(port) = self.config.get_ports().get(index) {
                write!(formatter, ":{port}")?;
            }
        }
        write!(formatter, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn roots_of(value: &str) -> Result<Roots, String> {
    match value {
        "" => Err("sslrootcert: must name a file, or be system".into()),
        "system" => Ok(Roots::System),
        path => percent_decoded(path)
            .map(|path| Roots::File(path.into()))
            .ok_or_else(|| "sslrootcert: is not UTF-8".into()),
    }
}

fn tls_of(mode: Option<&str>, roots: Option<Roots>) -> Result<(SslMode, TlsMode), String> {
    let known = |roots: Option<Roots>| roots.unwrap_or(Roots::System);
    match mode.unwrap_or("prefer") {
        "disable" => Ok((SslMode::Disable, TlsMode::Encrypted)),
        "prefer" => Ok((SslMode::Prefer, TlsMode::Encrypted)),
        "require" => {
            let tls = roots.map_or(TlsMode::Encrypted, TlsMode::KnownAuthority);
            Ok((SslMode::Require, tls))
        }
        "verify-ca" => Ok((SslMode::Require, TlsMode::KnownAuthority(known(roots)))),
        "verify-full" => Ok((SslMode::Require, TlsMode::KnownHost(known(roots)))),
        _ => Err("sslmode: must be disable, prefer, require, verify-ca or verify-full".into()),
    }
}

/// The cause of an error of the library, without the URL.
fn explain(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("is not a usable PostgreSQL URL: {source}")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(query: &str) -> (SslMode, TlsMode) {
        let url = PostgresUrl::parse(&format!("postgres://u@h/d{query}")).unwrap();
        (url.config.get_ssl_mode(), url.tls)
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://me:secret@db.example:5433/core", "postgres://me@db.example:5433/core"),
            ("postgresql+psycopg://me:s%40cret@db/core", "postgres://me@db:5432/core"),
            ("postgresql://[::1]:5432/core?sslmode=require", "postgres://[::1]:5432/core"),
        ] {
            let url = PostgresUrl::parse(url).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn tls_parameters_have_the_meanings_of_libpq() {
        let file = || Roots::File("/ca root.pem".into());
        assert_eq!(tls(""), (SslMode::Prefer, TlsMode::Encrypted));
        assert_eq!(tls("?sslmode=disable").0, SslMode::Disable);
        assert_eq!(tls("?sslmode=require"), (SslMode::Require, TlsMode::Encrypted));
        let required = (SslMode::Require, TlsMode::KnownAuthority(file()));
        assert_eq!(tls("?sslmode=require&sslrootcert=/ca%20root.pem"), required);
        assert_eq!(tls("?sslrootcert=/ca%20root.pem&sslmode=verify-ca"), required);
        let full = (SslMode::Require, TlsMode::KnownHost(Roots::System));
        assert_eq!(tls("?sslmode=verify-full&sslrootcert=system"), full);
    }

    #[test]
    fn errors_never_repeat_the_password() {
        for url in [
            "postgres://me:secret@h/d?sslmode=maybe",
            "postgres://me:secret@h:port/d",
            "postgres://me:secret@h/d?sslcert=/x",
            "postgres://me:secret@h/d?connect_timeout=secret",
            "postgres:///d?user=secret",
            "mysql://me:secret@h/d",
            "postgres://me:secret@h/d?sslrootcert=%FF",
        ] {
            let error = PostgresUrl::parse(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
