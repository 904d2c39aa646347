//! A client of the socket: connects as somebody, says what the contract lets it say, and waits for frames with a bound.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config, connect_async_with_config};

use crate::person::Person;

/// How long a frame that must come may take. Long, since many tests share a machine; a frame that is late is judged by a bench, not here.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open socket, as a client sees it. Dropping it breaks the connection without a word, as a lost network does; [`Socket::close`] takes leave.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    established: Value,
    cursor: Option<String>,
}

/// Why there is no socket: the answer to the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status; 0 when the connection broke before one came.
    pub status: u16,
    /// What came with it.
    pub text: String,
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Of the close frame; 1006 when the connection broke without one.
    pub code: u16,
    /// What the close frame said.
    pub reason: String,
    /// Frames that came before.
    pub frames: Vec<Value>,
}

/// Tests open thousands: a large buffer for each would be most of what they take.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(8 << 10).write_buffer_size(0)
}

impl Socket {
    /// Opens one as this person and reads `connection_established`.
    ///
    /// # Panics
    /// When it is refused, or greeted with anything else.
    pub async fn open(person: &Person) -> Self {
        Self::greeted(Self::connect(person, "").await).await
    }

    /// As [`Socket::open`], with `?cursor=`: everything after the cursor follows, then `resumed`.
    ///
    /// # Panics
    /// As [`Socket::open`].
    pub async fn open_after(person: &Person, cursor: &str) -> Self {
        Self::greeted(Self::connect(person, &format!("&cursor={cursor}")).await).await
    }

    /// As [`Socket::open`], over a connection that takes little (64 KiB here, 4 MiB at most at the server's end) as long as nobody reads.
    ///
    /// # Panics
    /// As [`Socket::open`].
    pub async fn open_narrow(person: &Person) -> Self {
        let url = format!("{}?token={}", person.socket_url(), person.token);
        let request = url.as_str().into_client_request().expect("an address");
        let authority = request.uri().authority().expect("a host").as_str().parse().expect("an address with a port");
        let connection = tokio::net::TcpSocket::new_v4().expect("a socket");
        connection.set_recv_buffer_size(64 << 10).expect("a small buffer");
        let opening = async {
            let stream = connection.connect(authority).await.expect("it is listened");
            client_async_with_config(request, MaybeTlsStream::Plain(stream), Some(config())).await.expect("the upgrade")
        };
        let (stream, _) = tokio::time::timeout(PATIENCE, opening).await.expect("an answer to the upgrade");
        Self::greeted(Ok(Self { stream, established: Value::Null, cursor: None })).await
    }

    async fn greeted(socket: Result<Self, Refused>) -> Self {
        let mut socket = socket.unwrap_or_else(|refused| panic!("the socket is refused: {refused:?}"));
        socket.established = socket.expect("connection_established").await;
        socket
    }

    /// Connects as this person by token, with more of a query (`&cursor=…`); reads nothing yet.
    ///
    /// # Errors
    /// The answer to the upgrade, when that is another than 101.
    pub async fn connect(person: &Person, query: &str) -> Result<Self, Refused> {
        Self::dial(&format!("{}?token={}{query}", person.socket_url(), person.token), &[]).await
    }

    /// Connects to any address, with headers.
    ///
    /// # Errors
    /// As [`Socket::connect`].
    ///
    /// # Panics
    /// When address or headers are none, or when no answer comes in time.
    pub async fn dial(url: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let mut request = url.into_client_request().expect("an address");
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("the value of a header"));
        }
        match tokio::time::timeout(PATIENCE, connect_async_with_config(request, Some(config()), true)).await {
            Ok(Ok((stream, _))) => Ok(Self { stream, established: Value::Null, cursor: None }),
            Ok(Err(tungstenite::Error::Http(answer))) => {
                let text = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
                Err(Refused { status: answer.status().as_u16(), text })
            }
            Ok(Err(error)) => Err(Refused { status: 0, text: error.to_string() }),
            Err(_) => panic!("no answer to the upgrade within {PATIENCE:?}"),
        }
    }

    /// What `connection_established` said; `null` for sockets that were only connected.
    #[must_use]
    pub fn established(&self) -> &Value {
        &self.established
    }

    /// The newest cursor that a frame carried.
    ///
    /// # Panics
    /// When none has.
    #[must_use]
    pub fn cursor(&self) -> String {
        self.cursor.clone().expect("some frame has carried a cursor")
    }

    /// The next frame.
    ///
    /// # Panics
    /// When none comes in time, when the socket ends, or when it is no JSON object with a `type`.
    pub async fn next(&mut self) -> Value {
        match self.next_within(PATIENCE).await {
            Ok(Some(frame)) => frame,
            Ok(None) => panic!("no frame within {PATIENCE:?}"),
            Err(ended) => panic!("the socket ended instead of bringing a frame: {} {:?}", ended.code, ended.reason),
        }
    }

    /// The next frame, if one comes within the bound.
    ///
    /// # Errors
    /// How the socket ended instead.
    ///
    /// # Panics
    /// When it is no JSON object with a `type`.
    pub async fn next_within(&mut self, bound: Duration) -> Result<Option<Value>, Ended> {
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            let Ok(message) = tokio::time::timeout_at(deadline, self.stream.next()).await else { return Ok(None) };
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Some(self.read(&text))),
                Some(Ok(Message::Binary(bytes))) => panic!("the server sends text, not {} bytes", bytes.len()),
                Some(Ok(Message::Close(frame))) => return Err(Ended::told(frame)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Err(Ended { code: 1006, reason: error.to_string(), frames: Vec::new() }),
                None => return Err(Ended { code: 1006, reason: String::new(), frames: Vec::new() }),
            }
        }
    }

    fn read(&mut self, text: &str) -> Value {
        let frame: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("a frame is JSON: {text}"));
        let kind = frame["type"].as_str().unwrap_or_else(|| panic!("a frame has a type: {text}"));
        assert!(frame.get("payload").is_none(), "no server frame has a `payload`: {text}");
        assert!(kind == "relay_message" || frame.get("data").is_none(), "only relay_message has `data`: {text}");
        if let Some(cursor) = frame["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        frame
    }

    /// The next frame, which must be of this type.
    ///
    /// # Panics
    /// As [`Socket::next`], or when it is of another.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame of this type, passing over others (presence, say).
    ///
    /// # Panics
    /// As [`Socket::next`].
    pub async fn find(&mut self, kind: &str) -> Value {
        self.until(|frame| frame["type"] == kind).await.pop().expect("the one that was found")
    }

    /// All frames up to the first that answers, itself included.
    ///
    /// # Panics
    /// When it does not come in time, with the frames that came; as [`Socket::next`].
    pub async fn until(&mut self, mut found: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        loop {
            match self.next_within(deadline - tokio::time::Instant::now()).await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => panic!("waited {PATIENCE:?} in vain; these came: {frames:?}"),
                Err(ended) => panic!("the socket ended ({} {:?}) after {frames:?}", ended.code, ended.reason),
            }
            if frames.last().is_some_and(&mut found) {
                return frames;
            }
        }
    }

    /// Says `ping` and returns what comes before the `pong`. What the server had to say when it answered is among them; what it has yet to learn is not.
    ///
    /// # Panics
    /// As [`Socket::until`].
    pub async fn before_pong(&mut self) -> Vec<Value> {
        self.send("ping", json!({})).await;
        let mut frames = self.until(|frame| frame["type"] == "pong").await;
        frames.pop();
        frames
    }

    /// Says `resume` and returns everything up to `resumed` or `resume_reset`, itself included.
    ///
    /// # Panics
    /// As [`Socket::until`].
    pub async fn resume(&mut self, cursor: &str) -> Vec<Value> {
        self.send("resume", json!({"cursor": cursor})).await;
        self.until(|frame| frame["type"] == "resumed" || frame["type"] == "resume_reset").await
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// When the connection does not take it.
    pub async fn send(&mut self, kind: &str, payload: Value) {
        self.say(Message::text(json!({"type": kind, "payload": payload}).to_string())).await;
    }

    /// Sends anything: text that is no JSON, bytes, a ping.
    ///
    /// # Panics
    /// When the connection does not take it.
    pub async fn say(&mut self, message: Message) {
        self.stream.send(message).await.expect("the connection takes it");
    }

    /// Reads until the socket ends.
    ///
    /// # Panics
    /// When it does not within the bound.
    pub async fn ended_within(&mut self, bound: Duration) -> Ended {
        let deadline = tokio::time::Instant::now() + bound;
        let mut frames = Vec::new();
        loop {
            match self.next_within(deadline - tokio::time::Instant::now()).await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => panic!("the socket is still open after {bound:?}; these came: {frames:?}"),
                Err(ended) => return Ended { frames, ..ended },
            }
        }
    }

    /// Takes leave (1000) and waits for the answer.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = self.stream.close(Some(frame)).await;
        let _ = tokio::time::timeout(PATIENCE, async { while self.stream.next().await.is_some_and(|message| message.is_ok()) {} }).await;
    }
}

impl Ended {
    fn told(frame: Option<CloseFrame>) -> Self {
        // 1005: closed without a code.
        let (code, reason) = frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
        Self { code, reason, frames: Vec::new() }
    }
}
