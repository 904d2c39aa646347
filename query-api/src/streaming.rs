//! Long lists, written page by page.
//!
//! Memory is bounded by one page per reader, whatever the length of the list, and a reader that is slow holds no connection of the
//! database: one is taken for each page and given back before a byte of it is sent.

use std::future::Future;
use std::io;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};
use platform::http::Problem;
use serde::Serialize;

/// A part of a JSON array: its elements with a comma between any two, and where the next part begins.
#[derive(Debug)]
pub struct Page<C> {
    elements: Vec<u8>,
    /// How many there are.
    pub count: usize,
    /// Asks for the next page; `None`: this was the last.
    pub next: Option<C>,
}

impl<C> Page<C> {
    /// Writes elements down.
    ///
    /// # Errors
    /// 500 when one of them cannot be written.
    pub fn of<T: Serialize>(elements: impl Iterator<Item = T>, next: Option<C>) -> Result<Self, Problem> {
        let mut page = Self { elements: Vec::with_capacity(16 * 1024), count: 0, next };
        for element in elements {
            if page.count > 0 {
                page.elements.push(b',');
            }
            page.count += 1;
            serde_json::to_writer(&mut page.elements, &element).map_err(|error| {
                tracing::error!(category = ?error.classify(), "a row cannot be written as JSON");
                Problem::internal()
            })?;
        }
        Ok(page)
    }
}

/// Answers with `before [elements] after`: at once when one page holds them all, else streamed. `after` is told how many there were.
///
/// A list that breaks off in the middle ends the connection without an end of the body, so that no client takes a part for the whole.
///
/// # Errors
/// Those of the first page; later ones are logged.
pub async fn array<C, F, P>(before: &'static str, after: fn(usize) -> String, first: C, page: F) -> Result<Response, Problem>
where
    C: Send + 'static,
    F: Fn(C) -> P + Send + 'static,
    P: Future<Output = Result<Page<C>, Problem>> + Send,
{
    let mut begun = page(first).await?;
    begun.elements.splice(..0, before.bytes().chain([b'[']));
    let body = match begun.next {
        None => Body::from(ended(begun.elements, begun.count, after)),
        Some(next) => {
            let rest = stream::unfold((Some(next), begun.count, page), move |(cursor, count, page)| async move {
                let part = match page(cursor?).await {
                    Ok(part) => part,
                    Err(problem) => {
                        tracing::warn!(code = problem.code, elements = count, "a list broke off while it was streamed");
                        return Some((Err(io::Error::other("the list broke off")), (None, count, page)));
                    }
                };
                let total = count + part.count;
                let mut bytes = part.elements;
                if part.count > 0 {
                    bytes.insert(0, b',');
                }
                if part.next.is_none() {
                    bytes = ended(bytes, total, after);
                }
                Some((Ok(Bytes::from(bytes)), (part.next, total, page)))
            });
            Body::from_stream(stream::once(async { Ok::<_, io::Error>(Bytes::from(begun.elements)) }).chain(rest))
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn ended(mut bytes: Vec<u8>, count: usize, after: fn(usize) -> String) -> Vec<u8> {
    bytes.push(b']');
    bytes.extend_from_slice(after(count).as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Page, array};
    use axum::body::to_bytes;
    use platform::http::Problem;

    async fn text(pages: Vec<Vec<i32>>) -> String {
        let last = pages.len() - 1;
        let page = move |n: usize| std::future::ready(Page::of(pages[n].iter(), (n < last).then_some(n + 1)));
        let response = array("{\"list\":", |n| format!(",\"count\":{n}}}"), 0, page).await.expect("a first page");
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.expect("whole").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn pages_join_into_one_array_wherever_they_end() {
        for (pages, list, count) in [
            (vec![vec![]], "", 0),
            (vec![vec![1]], "1", 1),
            (vec![vec![1, 2], vec![3], vec![4, 5]], "1,2,3,4,5", 5),
            (vec![vec![1, 2], vec![]], "1,2", 2),
        ] {
            assert_eq!(text(pages).await, format!("{{\"list\":[{list}],\"count\":{count}}}"));
        }
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_is_never_taken_for_a_whole_one() {
        let page = |n: usize| std::future::ready(if n == 0 { Page::of([1].iter(), Some(1)) } else { Err(Problem::internal()) });
        let response = array("", |_| String::new(), 0, page).await.expect("a first page");
        assert!(to_bytes(response.into_body(), usize::MAX).await.is_err());
        let refused = array("", |_| String::new(), 0, |_: usize| std::future::ready(Err::<Page<usize>, _>(Problem::internal()))).await;
        assert_eq!(refused.expect_err("the first page decides").status.as_u16(), 500);
    }
}
