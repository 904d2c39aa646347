//! The other end of a socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Small, since a bench holds tens of thousands.
const BUFFER: usize = 4 << 10;

/// Whose socket, and where.
#[derive(Debug, Clone)]
pub struct Address {
    /// `host:port`
    pub authority: String,
    /// The user.
    pub user: Uuid,
    /// The header that says so.
    pub authorization: String,
}

/// An open socket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

/// What comes over it.
#[derive(Debug)]
pub enum Heard {
    /// A frame, as text.
    Frame(tungstenite::Utf8Bytes),
    /// Something came that is none: a protocol ping.
    Life,
    /// It is over: a close code (1006: broken) and its reason.
    Closed(u16, String),
}

impl Address {
    /// The same person's, at another process: `http://host:port`.
    pub fn at(self, url: &str) -> Self {
        Self { authority: url.trim_start_matches("http://").to_owned(), ..self }
    }

    /// Opens it, from a source address where one is given: 28,000 connections is what one of them has ports for.
    pub async fn open(&self, from: Option<IpAddr>, cursor: Option<&str>) -> Result<Socket> {
        match tokio::time::timeout(PATIENCE, self.connect(from, cursor)).await {
            Ok(opened) => opened,
            Err(_) => bail!("no answer to the upgrade within {PATIENCE:?}"),
        }
    }

    async fn connect(&self, from: Option<IpAddr>, cursor: Option<&str>) -> Result<Socket> {
        let stream = match from {
            None => TcpStream::connect(&self.authority).await,
            Some(from) => {
                let to = lookup_host(&self.authority).await?.find(|to| to.is_ipv4() == from.is_ipv4()).context("no such address")?;
                let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind(SocketAddr::new(from, 0))?;
                socket.connect(to).await
            }
        };
        let stream = stream.with_context(|| format!("nothing takes connections at {}", self.authority))?;
        stream.set_nodelay(true)?;
        let cursor = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
        let mut request = format!("ws://{}/ws/{}{cursor}", self.authority, self.user).into_client_request()?;
        request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::try_from(&self.authorization)?);
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(0);
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((stream, _)) => Ok(Socket(stream)),
            Err(tungstenite::Error::Http(answer)) => {
                let text = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
                Err(Refused { status: answer.status().as_u16(), text }.into())
            }
            Err(error) => Err(error).context("the upgrade failed"),
        }
    }
}

/// The server does not want this socket.
#[derive(Debug, thiserror::Error)]
#[error("the socket was refused: {status} {text}")]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// What it said.
    pub text: String,
}

impl Socket {
    /// What comes next.
    pub async fn next(&mut self) -> Heard {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => Heard::Frame(text),
            Some(Ok(Message::Close(frame))) => {
                // 1005: closed without a code.
                let (code, reason) = frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                Heard::Closed(code, reason)
            }
            Some(Ok(_)) => Heard::Life,
            Some(Err(error)) => Heard::Closed(1006, error.to_string()),
            None => Heard::Closed(1006, String::new()),
        }
    }

    /// The next frame, read as far as somebody who counts needs it.
    ///
    /// # Errors
    /// When the socket has ended.
    pub async fn frame(&mut self) -> Result<tungstenite::Utf8Bytes> {
        loop {
            match self.next().await {
                Heard::Frame(text) => return Ok(text),
                Heard::Life => {}
                Heard::Closed(code, reason) => bail!("the socket was closed: {code} {reason}"),
            }
        }
    }

    /// Says something.
    pub async fn send(&mut self, kind: &str, payload: Value) -> Result<()> {
        Ok(self.0.send(Message::text(json!({"type": kind, "payload": payload}).to_string())).await?)
    }

    /// Takes leave; whether the other side says so too is its own affair.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.0.close(None)).await;
    }
}
