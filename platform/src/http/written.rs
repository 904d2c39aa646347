//! The answer to a command that was carried out.

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};

use crate::marks::ConsistencyToken;

/// An answer with its `X-Consistency-Token`: sent with a query, from anywhere, it makes that query wait for what was written.
#[derive(Debug)]
pub struct Written<R>(pub ConsistencyToken, pub R);

impl<R: IntoResponse> IntoResponse for Written<R> {
    fn into_response(self) -> Response {
        let mut response = self.1.into_response();
        if let Ok(token) = HeaderValue::try_from(self.0.encode()) {
            response.headers_mut().insert("x-consistency-token", token);
        }
        response
    }
}
