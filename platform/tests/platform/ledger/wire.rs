//! A wire between writer and server that a test can hold or cut.

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Open,
    /// Nothing passes, and nobody is told.
    Held,
    /// What is asked passes; with the next answer the connection breaks, unread. Then it is open again.
    LosesAnswer,
}

/// Forwards connections to the server of a URL.
pub struct Wire {
    pub url: String,
    mode: watch::Sender<Mode>,
    orphaned: watch::Sender<u32>,
}

impl Wire {
    pub async fn to(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().unwrap();
        let server = format!("{}:{}", server.get_host(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = url.replace(&server, &listener.local_addr().unwrap().to_string());
        assert_ne!(through, url, "the test server is reached by TCP");
        let mode = watch::Sender::new(Mode::Open);
        let orphaned = watch::Sender::new(0);
        let (modes, orphans) = (mode.clone(), orphaned.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, modes.clone(), orphans.subscribe()));
            }
        });
        Self { url: through, mode, orphaned }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Breaks every connection on the client's side only: the server is not told, its backends go on.
    pub fn orphan(&self) {
        self.orphaned.send_modify(|times| *times += 1);
    }

    /// Waits until an answer has been lost.
    pub async fn lost(&self) {
        self.mode.subscribe().wait_for(|mode| *mode == Mode::Open).await.unwrap();
    }
}

async fn forward(client: TcpStream, server: TcpStream, modes: watch::Sender<Mode>, mut orphaned: watch::Receiver<u32>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asks = async {
        let mut buffer = vec![0; 65_536];
        let mut mode = modes.subscribe();
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            mode.wait_for(|mode| *mode != Mode::Held).await.unwrap();
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 65_536];
        let mut mode = modes.subscribe();
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let now = *mode.wait_for(|mode| *mode != Mode::Held).await.unwrap();
            if now == Mode::LosesAnswer {
                modes.send_replace(Mode::Open);
                break;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = asks => {}
        () = answers => {}
        _ = orphaned.changed() => {
            drop((from_client, to_client));
            // As a client behind a dead network: the server's side stays as it is.
            std::future::pending::<()>().await;
        }
    }
}
