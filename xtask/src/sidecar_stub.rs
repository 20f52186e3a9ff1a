//! A sidecar that only tells what it was given, to try the server with: no GDB, no symbols.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

/// Where it is and where files are.
#[derive(Args)]
pub(crate) struct SidecarStub {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:3180")]
    listen: SocketAddr,
    /// The directory shared with the server (`PARSE_SIDECAR_XFER_DIR`); made if it is not there
    #[arg(long, default_value = "xfer")]
    directory: PathBuf,
}

impl SidecarStub {
    /// Answers until it is ended.
    pub(crate) fn run(self) -> Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        println!("Answering on http://{}, files in {}", self.listen, self.directory.display());
        let directory = web::Data::new(self.directory);
        actix_web::rt::System::new().block_on(async {
            let app = move || {
                let parse = web::get().to(parse_coredump);
                App::new().app_data(directory.clone()).route("/parse-coredump", parse)
            };
            let server = HttpServer::new(app).workers(1).bind(self.listen)?;
            anyhow::Ok(server.run().await?)
        })
    }
}

/// A report of what is there (contract §6.11).
async fn parse_coredump(
    directory: web::Data<PathBuf>,
    query: web::Query<HashMap<String, String>>,
) -> HttpResponse {
    let file = |name: &str| query.get(name).and_then(|name| length(&directory, name));
    let (Some(core), Some(elf), Some(chip)) = (file("core"), file("elf"), query.get("chip")) else {
        return HttpResponse::BadRequest().json(json!({"error": "core, elf or chip is missing"}));
    };
    let output = format!("A dump of {core} bytes from an {chip}, with an ELF of {elf} bytes.");
    HttpResponse::Ok().json(json!({"output": output}))
}

/// Of a file right in the directory.
fn length(directory: &Path, name: &str) -> Option<u64> {
    let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
    fs::metadata(directory.join(name)).ok().filter(|_| is_plain).map(|file| file.len())
}
