//! Accepting connections, and ending in good order.

use super::write_timeout::WriteTimeout;
use crate::api;
use crate::app::App;
use crate::config::Config;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ingot_engine::Model;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 32 << 10;
/// Most lines of it.
const HEADERS: usize = 100;
/// Pause after the system refused a connection, for lack of file handles for example.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long answers that are complete may take to leave when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// A server that has an address.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
}

/// Ends a server.
#[derive(Clone)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Something that ends the server it is given to.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// No new requests; those that are being answered go on.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Takes an address. Requests are answered from [`Server::run`] on, and ones for
    /// texts once there is a model.
    ///
    /// # Errors
    /// If the address is taken or is not this computer's.
    pub async fn bind(address: SocketAddr, config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, app: Arc::new(App::new(config)) })
    }

    /// The address, with the port that the system chose if it was asked to.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Gives it its model.
    ///
    /// # Panics
    /// If it has one.
    pub fn opener(&self) -> impl FnOnce(Model) + Send + use<> {
        let app = self.app.clone();
        move |model| app.open(model)
    }

    /// Answers requests until it is stopped and those that had begun are answered, or
    /// took too long.
    pub async fn run(self, stop: Stop) {
        let router = api::router(self.app.clone());
        let places = Arc::new(Semaphore::new(self.app.config.limits.connections));
        let mut stopped = stop.0.subscribe();
        loop {
            let place = places.clone().acquire_owned();
            let connection = async {
                let place = place.await.expect("never closed");
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                connection = connection => connection,
                _ = stopped.wait_for(|&stopped| stopped) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        peer,
                        router: router.clone(),
                        app: self.app.clone(),
                        stopped: stop.0.subscribe(),
                    };
                    tokio::spawn(async move {
                        connection.serve().await;
                        drop(place);
                    });
                }
                Err(e) => {
                    tracing::warn!("a connection could not be accepted: {e}");
                    sleep(BACK_OFF).await;
                }
            }
        }
        drop(self.listener);
        self.app.drain();
        let deadline = Instant::now() + self.app.config.limits.drain;
        while self.app.active.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        // Connections close when their last answer has been sent.
        let all = self.app.config.limits.connections as u32;
        let _ = tokio::time::timeout(FAREWELL, places.acquire_many(all)).await;
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: Arc<App>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(mut self) {
        let limits = &self.app.config.limits;
        // Tokens are small and should not wait for each other.
        let _ = self.stream.set_nodelay(true);
        let stream = TokioIo::new(WriteTimeout::new(self.stream, limits.write));
        let peer = self.peer;
        let service = self.router.map_request(move |mut request: Request<_>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.arrival)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES);
        let connection = http.serve_connection(stream, TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A client that breaks the protocol or leaves is no error of ours.
            _ = connection.as_mut() => return,
            _ = self.stopped.wait_for(|&stopped| stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
