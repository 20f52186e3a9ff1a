//! Two replicas behind one port.

use coredock_testkit::tcp_proxy::TcpProxy;
use reqwest::Method;

use super::{Answer, TestServer};

/// Two servers on one database and one bucket; requests alternate between them.
pub(crate) struct Replicas {
    pub(crate) one: TestServer,
    pub(crate) two: TestServer,
    balancer: TcpProxy,
}

impl Replicas {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let one = TestServer::on_servers(settings).await;
        let two = one.replica(settings).await;
        let balancer = TcpProxy::start(vec![one.authority(), two.authority()]).await;
        Self { one, two, balancer }
    }

    /// Sends a request to the next replica, on a new connection: on a shared connection one replica
    /// would get all requests.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let url = format!("http://{}{path}", self.balancer.authority());
        let request = self.one.request_to(method, &url).header("connection", "close");
        self.one.send(request.body(body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Method::POST, path, body.into()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Vec::new()).await
    }

    /// Stops both replicas and checks the data that is left.
    pub(crate) async fn finish(self) {
        assert_eq!(self.one.deadlocks(), 0, "two transactions waited for each other");
        self.two.finish().await;
        self.one.finish().await;
    }
}
