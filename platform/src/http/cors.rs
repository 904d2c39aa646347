//! What pages of other origins may do (the Fetch standard's CORS protocol).

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// What a script may read of an answer beyond what it always may.
const EXPOSED: &str = "X-Consistency-Token, X-Projection-Behind, X-Request-Id, Link, Location, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, \
    X-RateLimit-Reset, ETag, Content-Disposition, Content-Range, Accept-Ranges";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// How long a browser may remember what it was told: seconds.
const REMEMBERED: &str = "600";

/// The origins whose pages may use this interface with credentials. Clones share one list. In the extensions of every request below [`cors`].
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Arc<[HeaderValue]>);

impl AllowedOrigins {
    /// These, as browsers write them: scheme, host and, unless it is the scheme's own, port. What cannot be a header is left out.
    #[must_use]
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        Self(origins.into_iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// Whether a request's `Origin` is among them. `null` never is.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        origin != "null" && self.0.contains(origin)
    }
}

/// Wraps a router, outside of [`super::routes`]: preflights are answered here, to everybody and for every path; every other answer, whatever its status, says which origin may read it.
pub fn cors(router: Router, allowed: AllowedOrigins) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let allowed = allowed.clone();
        async move { answer(&allowed, request, next).await }
    }))
}

async fn answer(allowed: &AllowedOrigins, mut request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).filter(|origin| allowed.allows(origin)).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        preflight(request.headers(), origin.is_some())
    } else {
        request.extensions_mut().insert(allowed.clone());
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        if !is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
    response
}

/// An origin that is allowed may send any header: with credentials the wildcard means nothing, so they are named back.
fn preflight(asked: &HeaderMap, is_allowed: bool) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
    if is_allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
    }
    response
}
