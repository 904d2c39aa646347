//! The page at `/`: two windows, two people, and the way of each message between them. Plain HTML and ES modules, all of it from this binary.
//!
//! It is a client like any other: what it shows stands in answers and frames.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use platform::http::Problem;
use platform::http::api::{Answers, Api, Operation, get};

/// Scripts and styles come from here and from nowhere else; what they ask, by HTTP and by socket, they ask here only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page is made of: name, media type, content.
const PARTS: [(&str, &str, &str); 10] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../page/style.css")),
    ("api.js", SCRIPT, include_str!("../../page/api.js")),
    ("app.js", SCRIPT, include_str!("../../page/app.js")),
    ("content.js", SCRIPT, include_str!("../../page/content.js")),
    ("desk.js", SCRIPT, include_str!("../../page/desk.js")),
    ("journey.js", SCRIPT, include_str!("../../page/journey.js")),
    ("live.js", SCRIPT, include_str!("../../page/live.js")),
    ("places.js", SCRIPT, include_str!("../../page/places.js")),
    ("start.js", SCRIPT, include_str!("../../page/start.js")),
    ("view.js", SCRIPT, include_str!("../../page/view.js")),
];

/// The page and its parts.
pub fn router() -> Api {
    Api::new()
        .route(get("/", async || Page).says(
            "page.look",
            "A page to see it work",
            "Register two people in two windows, and watch a message travel. Works without internet access.",
        ))
        .route(
            get("/page/{file}", part)
                .says("page.part", "A part of the page", "Scripts and styles of `/`.")
                .path("file", "Its name.")
                .refuses([missing()]),
        )
}

struct Page;

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            // Its own address may name a person.
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        (headers, include_str!("../../page/index.html")).into_response()
    }
}

impl Answers for Page {
    fn describe(operation: &mut Operation) {
        operation.answers::<String>("text/html");
    }
}

struct Part(&'static str, &'static str);

impl IntoResponse for Part {
    fn into_response(self) -> Response {
        // Small, and never of another release than the page that names it.
        ([(header::CONTENT_TYPE, self.0), (header::CACHE_CONTROL, "no-cache")], self.1).into_response()
    }
}

impl Answers for Part {
    fn describe(operation: &mut Operation) {
        operation.answers::<String>("text/css");
        operation.or_answers::<String>("text/javascript");
    }
}

async fn part(Path(name): Path<String>) -> Result<Part, Problem> {
    let (_, media_type, content) = PARTS.into_iter().find(|(known, ..)| *known == name).ok_or_else(missing)?;
    Ok(Part(media_type, content))
}

fn missing() -> Problem {
    Problem::not_found("not_found", "There is nothing here")
}
