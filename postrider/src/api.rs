//! What the API's document says above its routes.

use std::time::Duration;

use platform::http::Problem;
use platform::http::api::docs::with_docs;
use platform::http::api::{Api, Info, TagInfo};
use platform::limits::rate_limited;

/// An API with its document at `/api/v1/openapi.json` and its page at `/docs`.
pub fn described(api: Api) -> Api {
    with_docs(
        api,
        &Info {
            title: "Postrider",
            version: env!("CARGO_PKG_VERSION"),
            text: include_str!("api.md"),
            tags: &TAGS,
            everywhere: vec![
                Problem::internal(),
                Problem::unavailable("unavailable", "Not available at the moment"),
                rate_limited(Duration::from_secs(1)),
            ],
        },
    )
}

const TAGS: [TagInfo; 10] = [
    TagInfo { name: "auth", text: "Accounts, sessions and tokens." },
    TagInfo { name: "users", text: "People: who they are, and what they say of themselves." },
    TagInfo { name: "contacts", text: "Whom one knows, and whom one keeps away." },
    TagInfo { name: "messages", text: "Direct messages: sending, history, receipts." },
    TagInfo { name: "relay", text: "What waits for a person until their device has it." },
    TagInfo { name: "realtime", text: "What happens, as it happens." },
    TagInfo { name: "groups", text: "Groups." },
    TagInfo { name: "health", text: "Whether the service is well." },
    TagInfo { name: "page", text: "A page to see it work." },
    TagInfo { name: "docs", text: "This document." },
];
