//! The bodies of requests: how long they may take and be, and how many long ones there may be.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;
use super::idle::BodyGuard;

type Result<T> = std::result::Result<T, ApiError>;

/// Bytes of a body at most.
const MAX_BYTES: usize = 8 << 20;

/// A body of more bytes is a long one. Of these there are so many at once; others wait.
const LONG: usize = 64 << 10;
const MAX_LONG: usize = 16;

/// Reads bodies.
pub(crate) struct Bodies {
    long: Arc<Semaphore>,
}

/// A body that was read, with its place among the long ones.
pub(crate) struct Read {
    bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { long: Arc::new(Semaphore::new(MAX_LONG)) }
    }
}

impl Bodies {
    /// The body of a request. One that is too long is not read any further: what still comes is
    /// drained behind the reply.
    pub(crate) async fn read(&self, request: Request<Incoming>, patience: Duration) -> Result<Read> {
        if !has_only(request.headers(), &TRANSFER_ENCODING, "chunked") {
            let message = "the transfer coding is not known: chunked is (Transfer-Encoding)";
            return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
        }
        if !has_only(request.headers(), &CONTENT_ENCODING, "identity") {
            let message = "the body is compressed: send it as it is (Content-Encoding: identity)";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
        let _waits = request.extensions().get().map(BodyGuard::new);
        tokio::time::timeout(patience, self.read_all(request.into_body())).await.map_err(late)?
    }

    async fn read_all(&self, mut body: Incoming) -> Result<Read> {
        let (mut bytes, mut length, mut place) = (Vec::new(), 0_usize, None);
        let too_long = || {
            let message = format!("the body has more than {MAX_BYTES} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large")
        };
        if body.size_hint().lower() > MAX_BYTES as u64 {
            return Err(too_long());
        }
        while let Some(frame) = body.frame().await {
            let broken = |error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length > MAX_BYTES {
                return Err(too_long());
            }
            if length > LONG && place.is_none() {
                place = Some(Arc::clone(&self.long).acquire_owned().await.map_err(|_| ApiError::ending())?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Read { bytes, _place: place })
    }
}

/// Whether a header has no other value than this one.
fn has_only(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let is_it = |given: &HeaderValue| given.as_bytes().trim_ascii().eq_ignore_ascii_case(value.as_bytes());
    headers.get_all(name).iter().all(is_it)
}

impl Deref for Read {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}
