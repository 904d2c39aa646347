//! A client that costs little, so that the machine's time goes to what is measured: one HTTP/1.1 connection, one request at a time. And one of the socket.

pub mod socket;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use uuid::Uuid;

use self::socket::Address;

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection, opened again when it breaks.
pub struct Client {
    authority: String,
    token: Option<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// To `http://host:port`.
    pub fn new(url: &str) -> Result<Self> {
        let authority = url.strip_prefix("http://").context("the URL must begin with http://")?.trim_end_matches('/').to_owned();
        Ok(Self { authority, token: None, connection: None })
    }

    /// The same person on a connection of their own.
    pub fn another(&self) -> Self {
        Self { authority: self.authority.clone(), token: self.token.clone(), connection: None }
    }

    /// With a bearer token from now on.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(format!("Bearer {token}"));
        self
    }

    /// Where this person's sockets are opened.
    pub fn socket(&self, user: Uuid) -> Result<Address> {
        let authorization = self.token.clone().context("nobody is signed in")?;
        Ok(Address { authority: self.authority.clone(), user, authorization })
    }

    /// Sends a request and reads the whole answer.
    pub async fn request(&mut self, method: Method, path: &str, body: Option<String>) -> Result<(u16, Bytes)> {
        let answer = tokio::time::timeout(PATIENCE, self.attempt(method, path, body)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                bail!("no answer within {PATIENCE:?}")
            }
        }
    }

    /// As [`Client::request`], for answers that must be 2xx and JSON.
    pub async fn json(&mut self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, answer) = self.request(method.clone(), path, body.map(|b| b.to_string())).await?;
        ensure!((200..300).contains(&status), "{method} {path} answered {status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn attempt(&mut self, method: Method, path: &str, body: Option<String>) -> Result<(u16, Bytes)> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            self.connection = Some(self.connect().await?);
        }
        let connection = self.connection.as_mut().expect("connected above");
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.authority).await.with_context(|| format!("nothing listens on {}", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
