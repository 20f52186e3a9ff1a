//! A server with one route and one constant answer: the floor under every other.

use std::net::SocketAddr;

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use clap::Args;

/// Serves `body` under every path, with as many workers as Coredock has.
#[derive(Args)]
pub struct BareServer {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// The JSON text to answer with
    #[arg(long)]
    body: String,
}

impl BareServer {
    /// Serves until SIGTERM.
    pub fn run(self) -> Result<()> {
        let body = web::Bytes::from(self.body);
        let app = move || {
            let body = body.clone();
            let answer = move || {
                let body = body.clone();
                async { HttpResponse::Ok().content_type(ContentType::json()).body(body) }
            };
            App::new().default_service(web::get().to(answer))
        };
        let server = HttpServer::new(app).tcp_nodelay(true).shutdown_timeout(1);
        let server = server.bind(self.listen)?;
        Ok(actix_web::rt::System::new().block_on(server.run())?)
    }
}
