//! A server with one route and one constant answer, with which Coredock is compared.

use std::net::SocketAddr;

use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub struct BareServer {
    /// Address to listen on; port 0 chooses a free port
    #[arg(long)]
    listen: SocketAddr,
    /// The JSON text of every answer
    #[arg(long)]
    body: String,
}

impl BareServer {
    /// Serves `body` under every path until SIGTERM, with as many workers as Coredock has.
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
        // The line by which Coredock announces its address: both are started in the same way.
        let address = server.addrs().first().copied();
        println!("{}", json!({ "event": "listening", "address": address }));
        Ok(actix_web::rt::System::new().block_on(server.run())?)
    }
}
