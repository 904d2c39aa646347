//! What is wrapped around every route.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::{Instrument, Span};

use super::api::Api;
use super::body::{self, BODY_LIMIT};
use super::context::request_context;
use super::counted::Table;
use super::{Counted, Counts, Guard, Problem, RequestContext};
use crate::fresh::Behind;
use crate::limits::{Class, Subject};

/// How a path that no route matches is called in metrics and logs: a client's own words are unbounded, and may be secret.
const UNMATCHED: &str = "unmatched";

/// An answer that took longer is worth a line, even when it is what was hoped for.
const SLOW: Duration = Duration::from_millis(500);

/// Wraps what all routes have in common: request id and context, span, metrics by route and status, panics as 500, body limit (1 MiB), problems with their
/// `request_id`, 404 / 405 / 413 as problem documents, security headers.
pub fn routes(router: impl Into<Router>) -> Router {
    wrapped(router.into(), None)
}

/// As [`routes`], with limits: a request that is one too many is refused before its body is read, one without a token before anything of it is looked at. Every
/// answer says what is left (`X-RateLimit-*`). The client's address is the connection's, or what a proxy says that is believed.
pub fn guarded(api: Api, guard: Guard) -> Router {
    let table = api.counts();
    wrapped(api.into(), Some(Arc::new((guard, table))))
}

type Guarded = Option<Arc<(Guard, Table)>>;

fn wrapped(router: Router, guard: Guarded) -> Router {
    // Unknown paths and methods have to come through the layer as well.
    router
        .fallback(async || Problem::not_found("not_found", "There is nothing here"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(guard, edge))
}

async fn edge(State(guard): State<Guarded>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let mut context = request_context(&parts);
    let method = method_label(&parts.method);
    let route = parts.extensions.get::<MatchedPath>().map_or_else(|| UNMATCHED.to_owned(), |path| path.as_str().to_owned());
    let preflight = parts.method == Method::OPTIONS;
    let counted = guard.as_deref().map(|(guard, table)| {
        context.peer = context.peer.map(|peer| guard.proxies.client(peer, &parts.headers));
        Counted::new(guard, counts(table, &parts.method, &route), context.peer.map(Subject::address))
    });
    if let Some(counted) = &counted {
        parts.extensions.insert(counted.clone());
    }
    let behind = Behind::default();
    parts.extensions.insert(context.clone());
    parts.extensions.insert(behind.clone());
    let span = tracing::info_span!("request", method, route, correlation_id = context.request_id, actor.id = tracing::field::Empty);
    let refused = match &counted {
        Some(counted) => counted.of_address().await.err(),
        None => None,
    };
    let answer = match refused {
        // Its body is left where it is.
        Some(refused) => Ok(refused.into_response()),
        None => AssertUnwindSafe(next.run(Request::from_parts(parts, body))).catch_unwind().instrument(span.clone()).await,
    };
    let mut response = span.in_scope(|| {
        answer.unwrap_or_else(|_| {
            // What it said may hold somebody's data: the place is in the panic hook's line.
            tracing::error!("a handler panicked");
            Problem::internal().into_response()
        })
    });
    if preflight && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = axum::body::Body::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let mut response = rendered(response, &context);
    add_headers(response.headers_mut(), &context, &behind);
    if let Some(counted) = &counted {
        counted.add_headers(response.headers_mut());
    }
    observe(&span, method, route, response.status(), began);
    response
}

/// What a request counts. A HEAD is a GET; a preflight is the browser's own, and costs nothing.
fn counts(table: &Table, method: &Method, route: &str) -> Counts {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    if method == Method::OPTIONS {
        return Counts::default();
    }
    let known = table.get(route).and_then(|methods| methods.iter().find(|(known, _)| known == method));
    known.map_or(Counts { address: Some(Class::Public), user: None }, |(_, counts)| *counts)
}

/// Every error as a problem document with the request's id, also those that extractors and the router made themselves.
fn rendered(mut response: Response, context: &RequestContext) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if (status.is_client_error() || status.is_server_error()) && !speaks_for_itself(&response) => of_status(status),
        None => return response,
    };
    let mut document = problem.document(&context.request_id);
    for (name, value) in response.headers() {
        let described_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name);
        if !described_body && !document.headers().contains_key(name) {
            document.headers_mut().append(name.clone(), value.clone());
        }
    }
    document
}

fn speaks_for_itself(response: &Response) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/"))
}

fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::not_found("not_found", "There is nothing here"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(status, "method_not_allowed", "This is done with another method"),
        StatusCode::PAYLOAD_TOO_LARGE => body::too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(status, "unsupported_media_type", "The body has the wrong content type"),
        // Of axum's own extractors, for a query or path that cannot be read.
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request cannot be read")
        }
        status if status.is_client_error() => Problem::new(status, "refused", status.canonical_reason().unwrap_or("Refused")),
        StatusCode::SERVICE_UNAVAILABLE => Problem::unavailable("unavailable", "Not available at the moment"),
        _ => Problem::internal(),
    }
}

fn add_headers(headers: &mut HeaderMap, context: &RequestContext, behind: &Behind) {
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    if behind.is_set() {
        headers.insert(HeaderName::from_static("x-projection-behind"), HeaderValue::from_static("true"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A route that knows better says so itself.
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Methods are the client's own words, too.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn observe(span: &Span, method: &'static str, route: String, status: StatusCode, began: Instant) {
    let duration = began.elapsed();
    span.in_scope(|| {
        let (status, duration_ms) = (status.as_u16(), (duration.as_secs_f64() * 1e6).round() / 1e3);
        // A line for each of thousands of good answers a second costs more than serving some of them, and metrics count them all:
        // `telemetry.log = "info,platform::http=debug"` brings them back.
        // Nor may a flood of requests that are too many become a flood of lines.
        let unremarkable = route.starts_with("/health") || ((status < 400 || status == 429) && duration < SLOW);
        if unremarkable {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
    });
    metrics::counter!("http_requests_total", "route" => route.clone(), "method" => method, "status" => status.as_str().to_owned())
        .increment(1);
    metrics::histogram!("http_request_seconds", "route" => route).record(duration.as_secs_f64());
}
