//! Replies: whole documents, and streams of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::api::answer::Answering;
use super::engine::Event;
use super::error::ApiError;
use super::metrics::{Cancellation, Metrics};

/// A reply on its way out.
pub(crate) type Reply = Response<Payload>;

/// The body of a reply.
pub(crate) enum Payload {
    /// All of it, until it is taken.
    Whole(Option<Bytes>),
    /// What the engine tells. When this is dropped, its continuations end.
    Events(Box<Events>),
}

/// Chunks of an answer that is being generated.
pub(crate) struct Events {
    answering: Answering,
    heard: Receiver<Event>,
    /// Chunks that are ready.
    chunks: VecDeque<Bytes>,
    ended: bool,
    cancellation: Cancellation,
}

/// How replies are made.
pub(crate) trait ReplyExt: Sized {
    fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Self;
    fn json(document: &Value) -> Self;
    fn error(error: &ApiError) -> Self;
    /// A stream of chunks that are all there.
    fn chunks(chunks: &[Value]) -> Self;
    /// A stream of what is heard, from `first` on.
    fn events(answering: Answering, heard: Receiver<Event>, first: Event, metrics: &Arc<Metrics>) -> Self;
}

/// The last event of a stream.
const DONE: &str = "data: [DONE]\n\n";

/// A chunk as a server-sent event.
fn event(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}

impl ReplyExt for Reply {
    fn of(status: StatusCode, kind: &'static str, body: Bytes) -> Self {
        let mut reply = Response::new(Payload::Whole(Some(body)));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        reply
    }

    fn json(document: &Value) -> Self {
        Self::of(StatusCode::OK, "application/json", document.to_string().into())
    }

    fn error(error: &ApiError) -> Self {
        Self::of(error.status, "application/json", error.json().to_string().into())
    }

    fn chunks(chunks: &[Value]) -> Self {
        let text = chunks.iter().map(event).collect::<String>() + DONE;
        Self::of(StatusCode::OK, "text/event-stream", text.into())
    }

    fn events(answering: Answering, heard: Receiver<Event>, first: Event, metrics: &Arc<Metrics>) -> Self {
        let chunks = answering.begin().iter().map(|chunk| event(chunk).into()).collect();
        let mut events = Events { answering, heard, chunks, ended: false, cancellation: Cancellation::new(metrics) };
        events.take(first);
        let mut reply = Self::of(StatusCode::OK, "text/event-stream", Bytes::new());
        *reply.body_mut() = Payload::Events(Box::new(events));
        reply
    }
}

impl Events {
    /// Takes what is heard, and makes its chunks ready.
    fn take(&mut self, heard: Event) {
        match self.answering.take(heard) {
            Ok(chunks) => self.chunks.extend(chunks.iter().map(|chunk| Bytes::from(event(chunk)))),
            Err(error) => {
                self.chunks.push_back(event(&error.json()).into());
                self.end();
            }
        }
        if !self.ended && self.answering.is_over() {
            self.chunks.extend(self.answering.end().map(|chunk| Bytes::from(event(&chunk))));
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.cancellation.end();
        self.chunks.push_back(DONE.into());
        self.heard.close();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Poll::Ready(Some(chunk));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(heard) = ready!(self.heard.poll_recv(context)) {
                self.take(heard);
            } else {
                self.chunks.push_back(event(&ApiError::stopped().json()).into());
                self.end();
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The engine has ended it, and has counted that.
        if self.heard.is_closed() && self.heard.is_empty() {
            self.cancellation.end();
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Events(events) => ready!(events.poll(context)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
