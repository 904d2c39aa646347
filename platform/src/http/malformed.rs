//! What is no HTTP never becomes a request: hyper answers it by itself, with a bare head. That answer is found on its way out, and a problem document sent in
//! its place.

use axum::http::StatusCode;
use uuid::Uuid;

use super::Problem;

/// Longer than any head that hyper writes by itself.
const LONGEST: usize = 256;

/// Where in a buffer that is about to be sent hyper's own answer begins, when it ends with one, and its status.
///
/// Only sound on a connection on which nothing but JSON was answered: no JSON ends as a head does, so it cannot be what somebody wrote.
pub(super) fn bare_answer(buffer: &[u8]) -> Option<(usize, StatusCode)> {
    if !buffer.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = buffer.len().saturating_sub(LONGEST);
    let start = from + buffer[from..].windows(7).rposition(|window| window == b"HTTP/1.")?;
    let mut lines = std::str::from_utf8(&buffer[start..]).ok()?.trim_end().split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<StatusCode>().ok()?;
    // Whatever we answer ourselves bears more than these.
    let mut bare = 0;
    for line in lines {
        match line.split_once(": ")? {
            ("connection", "close") | ("content-length", "0") | ("date", _) => bare += 1,
            _ => return None,
        }
    }
    (bare >= 2 && status.is_client_error()).then_some((start, status))
}

/// What is sent in its place. Nothing of the request is known, so nothing is counted as anybody's.
pub(super) fn answer(status: StatusCode) -> Vec<u8> {
    let (code, detail) = match status {
        StatusCode::URI_TOO_LONG => ("uri_too_long", "The address is too long"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ("headers_too_large", "There are too many headers, or they are too long"),
        _ => ("malformed", "This is not HTTP/1.1"),
    };
    let request_id = Uuid::now_v7().to_string();
    tracing::info!(status = status.as_u16(), correlation_id = request_id, route = "malformed", "answered");
    metrics::counter!("http_requests_total", "route" => "malformed", "method" => "other", "status" => status.as_str().to_owned())
        .increment(1);
    let body = Problem::new(status, code, detail).value(&request_id).to_string();
    let reason = status.canonical_reason().unwrap_or("Error");
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nx-request-id: {request_id}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::bare_answer;
    use axum::http::StatusCode;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sat, 21 Nov 2026 15:00:00 GMT\r\n\r\n";

    #[test]
    fn only_an_answer_that_says_nothing_is_bare() {
        assert_eq!(bare_answer(BARE.as_bytes()), Some((0, StatusCode::BAD_REQUEST)));
        let after = format!("{{\"last\":\"answer\"}}{BARE}");
        assert_eq!(bare_answer(after.as_bytes()), Some((17, StatusCode::BAD_REQUEST)));
        let ours = BARE.replace("\r\n\r\n", "\r\nx-request-id: 1\r\n\r\n");
        for other in [
            ours.as_str(),
            &format!("{BARE}{{}}"),
            &BARE.replace("400 Bad Request", "200 OK"),
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "",
            "\r\n\r\n",
        ] {
            assert_eq!(bare_answer(other.as_bytes()), None, "{other}");
        }
    }
}
