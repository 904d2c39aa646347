//! `X-Consistency-Token` on the answers of commands.

use std::convert::Infallible;

use axum::http::HeaderName;
use axum::response::{IntoResponseParts, ResponseParts};

use crate::marks::ConsistencyToken;

/// The header of that name.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("x-consistency-token");

/// Put before a body, `(token, Json(body))`, it becomes the answer's header.
impl IntoResponseParts for ConsistencyToken {
    type Error = Infallible;
    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let text = self.encode().try_into().expect("`1.` and base64url are visible ASCII");
        response.headers_mut().insert(CONSISTENCY_TOKEN, text);
        Ok(response)
    }
}
