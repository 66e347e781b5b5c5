//! Which address is answered how.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, HeaderValue,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::api::answer::Style;
use super::api::embeddings::embeddings;
use super::api::generate::generate;
use super::api::models;
use super::api::options::{About, about};
use super::error::ApiError;
use super::guard::Guard;
use super::page;
use super::reply::{Made as _, Reply};
use super::service::Service;
use crate::explorer::File;

type Result<T> = std::result::Result<T, ApiError>;

/// Bytes of a body at most.
const MOST_BYTES: usize = 8 << 20;

/// Bytes of a body that are read to be told that they are too many.
const MOST_DRAINED: usize = 64 << 20;

/// What answers.
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) guard: Guard,
    /// How long a body may take.
    pub(crate) patience: Duration,
}

/// Where a request goes.
enum Route<'a> {
    Page(&'static File),
    Health,
    Metrics,
    Models,
    Model(&'a str),
    Generate(Style),
    Embeddings,
    About(About),
}

impl Route<'_> {
    fn of(path: &str) -> Option<Route<'_>> {
        Some(match path {
            "/health" => Route::Health,
            "/metrics" => Route::Metrics,
            "/v1/models" => Route::Models,
            "/v1/chat/completions" => Route::Generate(Style::Chat),
            "/v1/completions" => Route::Generate(Style::Text),
            "/v1/embeddings" => Route::Embeddings,
            "/v1/ollm/tokenize" => Route::About(About::Tokens),
            "/v1/ollm/options" => Route::About(About::Options),
            "/v1/ollm/search" => Route::About(About::Search),
            "/v1/ollm/suggest" => Route::About(About::Suggest),
            _ => match path.strip_prefix("/v1/models/") {
                Some(name) => Route::Model(name),
                None => Route::Page(page::find(path)?),
            },
        })
    }

    const fn method(&self) -> Method {
        match self {
            Self::Page(_) | Self::Health | Self::Metrics | Self::Models | Self::Model(_) => Method::GET,
            Self::Generate(_) | Self::Embeddings | Self::About(_) => Method::POST,
        }
    }

    /// Whether it is for everybody: it says nothing about the model.
    const fn is_public(&self) -> bool {
        matches!(self, Self::Page(_) | Self::Health)
    }
}

/// Answers a request.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> std::result::Result<Reply, Infallible> {
    let origin = app.guard.allowed_origin(request.headers()).and_then(|origin| HeaderValue::from_str(origin).ok());
    let mut reply = respond(&app, request).await.unwrap_or_else(|error| Reply::error(&error));
    let metrics = &app.service.metrics;
    match reply.status().as_u16() {
        ..400 => metrics.succeeded.add(1),
        400..500 => metrics.refused.add(1),
        _ => metrics.failed.add(1),
    }
    let (status, headers) = (reply.status(), reply.headers_mut());
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    Ok(reply)
}

async fn respond(app: &App, request: Request<Incoming>) -> Result<Reply> {
    app.guard.check_source(request.headers())?;
    let path = request.uri().path().to_owned();
    let unknown =
        || ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}")).with_code("unknown_url");
    let route = Route::of(&path).ok_or_else(unknown)?;
    if request.method() == Method::OPTIONS {
        return Ok(preflight(&route));
    }
    if *request.method() != route.method() {
        let message = format!("{path} is asked with {}, not with {}", route.method(), request.method());
        let mut reply = Reply::error(&ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message));
        reply.headers_mut().insert(ALLOW, allow(&route));
        return Ok(reply);
    }
    if !route.is_public() {
        app.guard.check_key(request.headers())?;
    }
    let service = Arc::clone(&app.service);
    match route {
        Route::Page(file) => Ok(page::reply(file)),
        Route::Health => Ok(Reply::json(&json!({ "status": "ok" }))),
        Route::Metrics => {
            Ok(Reply::of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", service.metrics.text().into()))
        }
        Route::Models => Ok(Reply::json(&models::list(&service))),
        Route::Model(name) => models::named(&service, name).map(|model| Reply::json(&model)),
        Route::Generate(style) => generate(service, body(app, request).await?, style).await,
        Route::Embeddings => embeddings(service, body(app, request).await?).await,
        Route::About(what) => about(service, body(app, request).await?, what).await,
    }
}

fn allow(route: &Route<'_>) -> HeaderValue {
    HeaderValue::from_static(if route.method() == Method::GET { "GET, OPTIONS" } else { "POST, OPTIONS" })
}

/// What a browser asks before it asks for a page of another origin.
fn preflight(route: &Route<'_>) -> Reply {
    let mut reply = Reply::of(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, allow(route));
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    reply
}

/// The body of a request. One that is too long is read to its end, within reason: a client that
/// still sends does not see the reply.
async fn body(app: &App, request: Request<Incoming>) -> Result<Vec<u8>> {
    let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    tokio::time::timeout(app.patience, read(request)).await.map_err(late)?
}

async fn read(request: Request<Incoming>) -> Result<Vec<u8>> {
    let mut body = request.into_body();
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    let too_long = || {
        let message = format!("the body has more than {MOST_BYTES} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large")
    };
    if body.size_hint().lower() > MOST_DRAINED as u64 {
        return Err(too_long());
    }
    while let Some(frame) = body.frame().await {
        let broken = |error| ApiError::new(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= MOST_BYTES {
            bytes.extend_from_slice(&data);
        } else if length > MOST_DRAINED {
            break;
        }
    }
    if length <= MOST_BYTES { Ok(bytes) } else { Err(too_long()) }
}
