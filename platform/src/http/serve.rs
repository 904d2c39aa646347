//! From a router to a listening server, and what is wrapped around every route.

use std::future::Future;

use axum::Router;
use tokio::net::TcpListener;

use super::Problem;
use crate::shutdown::Shutdown;

/// Wraps what all routes have in common: request id and context, span, metrics by route and status, panics as 500, body limit (1 MiB), problems with their
/// `request_id`, 404 / 405 / 413 as problem documents, security headers.
pub fn routes(_router: Router) -> Router {
    todo!()
}

/// Serves until the drain: then takes no new connection, finishes every request that has begun, and returns.
///
/// # Errors
/// When the listener fails.
pub async fn serve(_listener: TcpListener, _router: Router, _shutdown: Shutdown) -> std::io::Result<()> {
    todo!()
}

/// Runs a command in a task of its own, so that a client that hangs up cancels nothing half-way; the drain waits for it. Keeps the current span.
///
/// # Errors
/// What the command answers; 500 when it panicked.
pub async fn detached<T, F>(_shutdown: &Shutdown, _command: F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>> + Send + 'static,
    T: Send + 'static,
{
    todo!()
}
