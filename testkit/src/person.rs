//! People who use a system.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::system::System;

/// Somebody with an account and a token.
#[derive(Debug, Clone)]
pub struct Person {
    /// User id.
    pub id: Uuid,
    /// Their address.
    pub email: String,
    /// Their password.
    pub password: String,
    /// Their access token.
    pub token: String,
    base: String,
    client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: reqwest::header::HeaderMap,
    /// Body as text.
    pub text: String,
}

impl Answer {
    /// Sends a request.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn to(request: reqwest::RequestBuilder) -> Result<Self, reqwest::Error> {
        let answer = request.send().await?;
        Ok(Self { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await? })
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// A client that waits 15 s at most.
///
/// # Panics
/// Never in practice.
#[must_use]
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(15)).build().expect("a client")
}

impl Person {
    /// Registers somebody with a unique address that begins with `name`.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn register(system: &System, name: &str) -> Self {
        let unique = Uuid::now_v7().simple().to_string();
        let (email, password) = (format!("{name}.{unique}@example.org"), format!("pw-{unique}"));
        let client = http();
        let body =
            json!({"email": email, "username": format!("{name}-{unique}"), "password": password, "full_name": format!("{name} {unique}")});
        // The hasher's queue is bounded: who finds it full is told to come again, by many tests at once perhaps.
        let text = crate::wait_until("the hasher has room", Duration::from_secs(60), async || {
            let answer = client.post(system.url("/api/v1/auth/register")).json(&body).send().await.expect("an answer");
            let status = answer.status();
            let text = answer.text().await.expect("a body");
            assert!(status == 200 || status == 503 && text.contains("\"busy\""), "{status}: {text}");
            (status == 200).then_some(text)
        })
        .await;
        let body: Value = serde_json::from_str(&text).expect("JSON");
        Self {
            id: body["user"]["id"].as_str().and_then(|id| id.parse().ok()).expect("user.id"),
            email,
            password,
            token: body["access_token"].as_str().expect("access_token").to_owned(),
            base: system.url(""),
            client,
        }
    }

    /// Asks as this person.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::to(request).await
    }

    /// A request as this person, to be completed.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Where this person's sockets are opened, without a token.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("{}/ws/{}", self.base.replacen("http", "ws", 1), self.id)
    }

    /// The same person, at another process.
    #[must_use]
    pub fn at(&self, system: &System) -> Self {
        Self { base: system.url(""), ..self.clone() }
    }

    /// Signs in again: the same person in another session.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn login(&self) -> Self {
        let answer = self.post("/api/v1/auth/login", json!({"email": self.email, "password": self.password})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Self { token: answer.json()["access_token"].as_str().expect("access_token").to_owned(), ..self.clone() }
    }

    /// Signs in again, from what calls itself something of its own; the whole answer.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn sign_in_from(&self, device: &str) -> Value {
        let request = self.client.post(format!("{}/api/v1/auth/login", self.base)).header("user-agent", device);
        let answer = Answer::to(request.json(&json!({"email": self.email, "password": self.password}))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// The same person with another access token.
    #[must_use]
    pub fn with_token(&self, answer: &Value) -> Self {
        Self { token: answer["access_token"].as_str().expect("access_token").to_owned(), ..self.clone() }
    }

    /// A GET that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await.expect("an answer");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.json()
    }

    /// A POST, whatever comes back.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await.expect("an answer")
    }

    /// The body of a direct message to somebody.
    #[must_use]
    pub fn message(to: Uuid, id: Uuid, content: &str) -> Value {
        json!({"message_id": id, "recipient_id": to, "encrypted_content": content, "encrypted_session_key": "key"})
    }

    /// Ids in the conversation with somebody, oldest first.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn conversation(&self, with: Uuid) -> Vec<Uuid> {
        ids(&self.get(&format!("/api/v1/messages/conversation/{with}")).await)
    }

    /// Ids of what waits for this person, oldest first.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn pending(&self) -> Vec<Uuid> {
        ids(&self.get("/api/v1/relay/pending").await["messages"])
    }
}

fn ids(list: &Value) -> Vec<Uuid> {
    list.as_array().expect("an array").iter().map(|m| m["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect()
}
