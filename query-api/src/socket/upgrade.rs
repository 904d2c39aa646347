//! From a request to a socket (RFC 6455 §4.2).
//!
//! By hand and not by the framework's extractor, since that keeps the connection to itself: how a socket ends (half-closed first, so that the last word arrives) is ours to decide.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use platform::http::Problem;
use platform::http::api::{Operation, Takes};
use platform::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// An open connection that speaks frames.
pub(super) type Wire = WebSocketStream<TokioIo<Upgraded>>;

/// What a client may say at once, in one frame or in several: 1 MiB.
const LONGEST: usize = 1 << 20;
/// What is read at once. An idle socket holds it all the time; a frame that is longer gets the room that it needs.
const READ: usize = 1 << 10;
/// What is gathered before it is written.
const WRITE: usize = 4 << 10;
/// How long, and how much, is read away after the last word, so that the connection is not reset before that arrives.
const LINGER: Duration = Duration::from_secs(3);
const LINGER_BYTES: u64 = 16 << 20;

/// A request that asks for a socket, and asks rightly.
#[derive(Debug)]
pub(super) struct Upgrade {
    accept: String,
    on: OnUpgrade,
}

/// 426, for whoever asks for anything else here.
pub(super) fn upgrade_required() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "A WebSocket (version 13) is opened here")
}

/// The same, as it is answered: it says what would do (RFC 6455 §4.4).
#[derive(Debug)]
pub(super) struct Other;

impl IntoResponse for Other {
    fn into_response(self) -> Response {
        let mut response = upgrade_required().into_response();
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Other;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Other> {
        let headers = &parts.headers;
        let asks = parts.version == Version::HTTP_11
            && has_word(headers, header::CONNECTION, "upgrade")
            && has_word(headers, header::UPGRADE, "websocket")
            && has_word(headers, header::SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24).map(|key| derive_accept_key(key.as_bytes()));
        match (asks, key, parts.extensions.remove::<OnUpgrade>()) {
            (true, Some(accept), Some(on)) => Ok(Self { accept, on }),
            _ => Err(Other),
        }
    }
}

impl Takes for Upgrade {
    fn describe(operation: &mut Operation) {
        operation.refuses(upgrade_required());
    }
}

fn has_word(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

impl Upgrade {
    /// The answer; once it is sent, `run` has the socket. The shutdown waits for its end.
    pub(super) fn answer<F>(self, shutdown: &Shutdown, run: impl FnOnce(Wire) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let on = self.on;
        drop(shutdown.spawn(async move {
            // The client has left before it got its answer.
            let Ok(upgraded) = on.await else { return };
            let config = WebSocketConfig::default()
                .read_buffer_size(READ)
                .write_buffer_size(WRITE)
                .max_message_size(Some(LONGEST))
                .max_frame_size(Some(LONGEST));
            run(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await).await;
        }));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::try_from(self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// Ends the connection: says so, reads away what still comes (bounded), and lets go.
pub(super) async fn let_go(wire: Wire) {
    let mut io = wire.into_inner();
    let end = async {
        if io.shutdown().await.is_ok() {
            let mut waste = tokio::io::sink();
            let _ = tokio::io::copy(&mut io.take(LINGER_BYTES), &mut waste).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, end).await;
}
