//! From a router to a listening server, and its end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::FutureExt;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::Instrument;

use super::Problem;
use super::connection::{Connection, Watched};
use crate::shutdown::Shutdown;

/// How long a request's head may take to arrive; also how long a connection may wait for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a kept connection may still bring its next request once the drain has begun, so that none is caught on its way to a closing socket.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// When the drain stops waiting for clients that do not take their answers or finish their requests.
const DRAIN: Duration = Duration::from_secs(8);

/// Serves until the drain: then takes no new connection, finishes every request that has begun, and returns.
///
/// A kept connection is told to close with its next answer, or closed when none is asked for. Clients that hang are cut off after 8 s.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> std::io::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.draining() => break,
        };
        match accepted {
            Ok((stream, peer)) => drop(connections.spawn(converse(stream, peer, router.clone(), shutdown.clone()))),
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors or memory: what is served now frees some.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Those that the kernel has already accepted on our behalf have perhaps been written to.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        connections.spawn(converse(stream, peer, router.clone(), shutdown.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One client, until it leaves or the drain has no more use for it.
async fn converse(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: Shutdown) {
    // Answers are small and written at once: waiting for more (Nagle) only costs time.
    let _ = stream.set_nodelay(true);
    let (unread, opaque) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let io = TokioIo::new(Connection::new(stream, unread.clone(), opaque.clone()));
    let draining = shutdown.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(|body| Body::new(Watched::new(body, unread.clone())));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        let (draining, opaque) = (draining.clone(), opaque.clone());
        async move {
            let mut response: Response = answer.await?;
            // What follows an upgrade is no HTTP.
            if !is_json(&response) || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                opaque.store(true, Ordering::Release);
            }
            if draining.is_draining() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut conversation = std::pin::pin!(
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).serve_connection(io, service).with_upgrades()
    );
    // How it ends is the client's affair: a broken connection is no fault of ours, and none that could be mended.
    tokio::select! {
        _ = conversation.as_mut() => return,
        () = shutdown.draining() => {}
    }
    if tokio::time::timeout(LAST_REQUESTS, conversation.as_mut()).await.is_ok() {
        return;
    }
    conversation.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN - LAST_REQUESTS, conversation).await;
}

/// Whether its body is JSON, or it has none.
fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    match kind {
        Some(kind) => kind == b"application/json" || kind == b"application/problem+json",
        None => response.body().is_end_stream(),
    }
}

/// Runs a command in a task of its own, so that a client that hangs up cancels nothing half-way; the drain waits for it. Keeps the current span.
///
/// # Errors
/// What the command answers; 500 when it panicked.
pub async fn detached<T, F>(shutdown: &Shutdown, command: F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>> + Send + 'static,
    T: Send + 'static,
{
    shutdown.spawn(command.in_current_span()).await.unwrap_or_else(|_| {
        tracing::error!("a command panicked");
        Err(Problem::internal())
    })
}
