//! The page at `/`, as far as no browser is needed to look at it.

use std::collections::BTreeSet;

use testkit::person::{Answer, http};
use testkit::system::System;

async fn get(path: &str) -> Answer {
    Answer::to(http().get(System::shared().await.url(path))).await.expect("an answer")
}

/// What stands between two texts, each time.
fn between<'a>(text: &'a str, before: &str, after: char) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

#[tokio::test]
async fn the_page_is_whole_and_asks_nobody_but_us() {
    let page = get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
    let mut wanted: BTreeSet<String> =
        ["href=\"/page/", "src=\"/page/"].iter().flat_map(|before| between(&page.text, before, '"')).map(str::to_owned).collect();
    assert!(wanted.len() >= 2, "{wanted:?}");
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop_first() {
        let part = get(&format!("/page/{name}")).await;
        assert_eq!(part.status.as_u16(), 200, "{name}");
        assert_eq!(part.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert!(!part.text.contains("https:") && !part.text.contains("innerHTML"), "{name}");
        seen.insert(name);
        wanted.extend(between(&part.text, "from './", '\'').map(str::to_owned).filter(|name| !seen.contains(name)));
    }
    assert!(seen.len() >= 10, "{seen:?}");
    for path in ["/page/none.js", "/page/..%2Findex.html", "/page/"] {
        assert_eq!(get(path).await.status.as_u16(), 404, "{path}");
    }
}
