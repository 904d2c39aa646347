//! The document at `/api/v1/openapi.json`, and at `/docs` the page that shows it: Swagger UI, all of it from this binary.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::{Answers, Api, Info, Operation, Takes, get};
use crate::http::Problem;

/// Scripts, styles and pictures come from here and from nowhere else; what is tried out is sent to here only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page is made of: name, media type, content, and whether that is gzip.
const PAGE: [(&str, &str, &[u8], bool); 4] = [
    ("page.css", "text/css; charset=utf-8", include_bytes!("docs/page.css"), false),
    ("page.js", "text/javascript; charset=utf-8", include_bytes!("docs/page.js"), false),
    ("swagger-ui.css", "text/css; charset=utf-8", include_bytes!("docs/swagger-ui.css.gz"), true),
    ("swagger-ui-bundle.js", "text/javascript; charset=utf-8", include_bytes!("docs/swagger-ui-bundle.js.gz"), true),
];

/// An API together with its document and page. The document is made at once, of everything that is in `api` by now, itself included.
///
/// # Panics
/// As [`Api::document`].
#[must_use]
pub fn with_docs(api: Api, info: &Info) -> Api {
    let shown = Arc::new(OnceLock::<Bytes>::new());
    let document = shown.clone();
    let api = api
        .route(get("/api/v1/openapi.json", async move || Described(document.get().cloned().unwrap_or_default())).says(
            "docs.openapi",
            "This document",
            "OpenAPI 3.1, made from the routes themselves.",
        ))
        .route(get("/docs", async || Html).says(
            "docs.page",
            "This document, for people",
            "Works without internet access; requests can be tried out.",
        ))
        .route(
            get("/docs/{file}", asset)
                .says("docs.file", "A part of the page", "Scripts and styles of `/docs`.")
                .path("file", "Its name.")
                .refuses([missing()]),
        );
    let text = api.document(info).to_string();
    // Nobody else holds it yet.
    let _ = shown.set(text.into());
    api
}

struct Described(Bytes);

impl IntoResponse for Described {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], self.0).into_response()
    }
}

impl Answers for Described {
    fn describe(operation: &mut Operation) {
        operation.answers::<serde_json::Map<String, Value>>("application/json");
    }
}

struct Html;

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        (headers, include_str!("docs/index.html")).into_response()
    }
}

impl Answers for Html {
    fn describe(operation: &mut Operation) {
        operation.answers::<String>("text/html");
    }
}

struct Asset(Response);

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Asset {
    fn describe(operation: &mut Operation) {
        operation.answers::<String>("text/css");
        operation.or_answers::<String>("text/javascript");
    }
}

impl Takes for Path<String> {
    fn describe(_: &mut Operation) {}
}

async fn asset(Path(name): Path<String>) -> Result<Asset, Problem> {
    let (_, media_type, content, gzip) = PAGE.into_iter().find(|(known, ..)| *known == name).ok_or_else(missing)?;
    let mut response = ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=3600")], content).into_response();
    if gzip {
        // Every browser takes it, and nobody else asks.
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    Ok(Asset(response))
}

fn missing() -> Problem {
    Problem::not_found("not_found", "There is nothing here")
}
