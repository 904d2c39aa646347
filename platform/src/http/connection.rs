//! A client's connection: patient with the quick, not with the stuck.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::malformed::{self, bare_answer};

/// A client that takes nothing of its answer for this long is gone.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// How long, and how much, is read away after an answer that came before the end of the request.
const LINGER: Duration = Duration::from_secs(3);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// A socket that closes as RFC 9112 §9.6 asks: when a body was refused unread, closing at once would reset the connection and with it the answer on its way.
/// So it half-closes, reads what still comes (bounded), and then closes. It also gives up on clients that stop reading.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    unread: Arc<AtomicBool>,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
    /// Set when something else than JSON was answered: from then on, what is sent may look like anything.
    opaque: Arc<AtomicBool>,
    /// What is sent in place of hyper's own answer, and how much of it has been.
    instead: Option<(Vec<u8>, usize)>,
}

impl Connection {
    /// `unread`: set when a request's body was not read to its end ([`Watched`]). `opaque`: set when something else than JSON was answered.
    pub(super) fn new(stream: TcpStream, unread: Arc<AtomicBool>, opaque: Arc<AtomicBool>) -> Self {
        Self { stream, unread, stalled: None, lingering: None, opaque, instead: None }
    }

    /// Sends a problem document in place of an answer that hyper made by itself; `None`: there is none here. Otherwise, how much of the buffer is done with:
    /// what stands before it goes first.
    fn poll_instead(&mut self, cx: &mut Context<'_>, buffer: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.opaque.load(Ordering::Acquire) {
            return None;
        }
        let (start, status) = bare_answer(buffer)?;
        if start > 0 {
            let progress = Pin::new(&mut self.stream).poll_write(cx, &buffer[..start]);
            return Some(self.unless_stalled(cx, progress));
        }
        let (answer, mut sent) = self.instead.take().unwrap_or_else(|| (malformed::answer(status), 0));
        while sent < answer.len() {
            let progress = Pin::new(&mut self.stream).poll_write(cx, &answer[sent..]);
            match self.unless_stalled(cx, progress) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(count)) => sent += count,
                unfinished => {
                    self.instead = Some((answer, sent));
                    return Some(unfinished);
                }
            }
        }
        // What came instead of a request is still coming, perhaps.
        self.unread.store(true, Ordering::Release);
        Some(Poll::Ready(Ok(buffer.len())))
    }

    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(instead) = self.poll_instead(cx, buf) {
            return instead;
        }
        let progress = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_stalled(cx, progress)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // hyper's own answer has no body, so it is the last, and all of it in one piece.
        if let Some(last) = bufs.iter().rposition(|buffer| !buffer.is_empty()) {
            let before = &bufs[..last];
            if before.iter().all(|buffer| buffer.is_empty()) {
                if let Some(instead) = self.poll_instead(cx, &bufs[last]) {
                    return instead;
                }
            } else if !self.opaque.load(Ordering::Acquire) && bare_answer(&bufs[last]).is_some() {
                // It stands alone the next time.
                let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, before);
                return self.unless_stalled(cx, progress);
            }
        }
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.unread.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
        }
        let (end, left) = this.lingering.get_or_insert_with(|| (Box::pin(sleep(LINGER)), LINGER_BYTES));
        let mut waste = [0; 8 * 1024];
        while end.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            let count = buf.filled().len();
            if read.is_err() || count == 0 || count >= *left {
                break;
            }
            *left -= count;
        }
        Poll::Ready(Ok(()))
    }
}

/// A request's body that tells its connection when it is dropped before its end.
#[derive(Debug)]
pub(super) struct Watched {
    body: Incoming,
    unread: Arc<AtomicBool>,
    ended: bool,
}

impl Watched {
    pub(super) fn new(body: Incoming, unread: Arc<AtomicBool>) -> Self {
        Self { body, unread, ended: false }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended |= !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.unread.store(true, Ordering::Release);
        }
    }
}
