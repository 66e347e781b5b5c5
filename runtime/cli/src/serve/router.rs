//! Which address is answered how.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::admission::Place;
use super::api::answer::Style;
use super::api::embeddings::embeddings;
use super::api::generate::generate;
use super::api::models;
use super::api::options::{About, about};
use super::api::rerank::rerank;
use super::body::{Bodies, Read};
use super::error::ApiError;
use super::guard::Guard;
use super::metrics::Cancellation;
use super::page;
use super::reply::{Reply, ReplyExt as _};
use super::service::Service;
use crate::explorer::File;

type Result<T> = std::result::Result<T, ApiError>;

/// What answers.
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) guard: Guard,
    /// How long a body may take.
    pub(crate) patience: Duration,
    pub(crate) bodies: Bodies,
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
    Rerank,
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
            // As llama.cpp's server has it too.
            "/v1/rerank" | "/v1/reranking" | "/rerank" | "/reranking" => Route::Rerank,
            "/v1/ollm/tokenize" => Route::About(About::Tokens),
            "/v1/ollm/options" => Route::About(About::Options),
            "/v1/ollm/search" => Route::About(About::Search),
            "/v1/ollm/suggest" => Route::About(About::Suggest),
            _ => match path.strip_prefix("/v1/models/") {
                Some("") => return None,
                Some(name) => Route::Model(name),
                None => Route::Page(page::find(path)?),
            },
        })
    }

    /// Whether it is asked with GET, or HEAD; else with POST.
    const fn is_read(&self) -> bool {
        match self {
            Self::Page(_) | Self::Health | Self::Metrics | Self::Models | Self::Model(_) => true,
            Self::Generate(_) | Self::Embeddings | Self::Rerank | Self::About(_) => false,
        }
    }

    /// The methods that it is asked with.
    const fn methods(&self) -> &'static str {
        if self.is_read() { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" }
    }

    fn takes(&self, method: &Method) -> bool {
        if self.is_read() { [Method::GET, Method::HEAD].contains(method) } else { method == Method::POST }
    }

    /// Whether it is for everybody: it says nothing about the model.
    const fn is_public(&self) -> bool {
        matches!(self, Self::Page(_) | Self::Health)
    }
}

/// Answers a request.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> std::result::Result<Reply, Infallible> {
    let origin = app.guard.allowed_origin(request.headers()).and_then(|origin| HeaderValue::from_str(origin).ok());
    let metrics = &app.service.metrics;
    let mut cancellation = Cancellation::new(metrics);
    let mut unread = !request.body().is_end_stream();
    let mut reply = respond(&app, request, &mut unread).await.unwrap_or_else(|error| {
        metrics.timed_out.add(usize::from(error.is_late()));
        Reply::error(&error)
    });
    cancellation.end();
    match reply.status().as_u16() {
        ..400 => metrics.succeeded.add(1),
        400..500 => metrics.refused.add(1),
        _ => metrics.failed.add(1),
    }
    let (status, headers) = (reply.status(), reply.headers_mut());
    if unread {
        // What follows on the connection is the rest of a body, not a request.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Ok(id) = HeaderValue::from_str(&app.service.next_id("req")) {
        headers.insert("x-request-id", id);
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    Ok(reply)
}

/// The reply to a request; tells whether its body is `unread`.
async fn respond(app: &App, request: Request<Incoming>, unread: &mut bool) -> Result<Reply> {
    app.guard.check_source(request.uri(), request.headers())?;
    let path = request.uri().path().to_owned();
    if !path.starts_with('/') {
        let message = "the target of a request is a path, such as /v1/models: it begins with /";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, message).with_code("unknown_url"));
    }
    let unknown =
        || ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}")).with_code("unknown_url");
    let route = Route::of(&path).ok_or_else(unknown)?;
    if request.method() == Method::OPTIONS {
        return Ok(preflight(&route, request.headers()));
    }
    if !route.takes(request.method()) {
        let message = format!("{path} is asked with {}, not with {}", route.methods(), request.method());
        let mut reply = Reply::error(&ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message));
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
        return Ok(reply);
    }
    if !route.is_public() {
        app.guard.check_key(request.headers())?;
    }
    let service = Arc::clone(&app.service);
    match route {
        Route::Page(file) => Ok(page::reply(file)),
        Route::Health if service.is_ending() => Err(ApiError::ending()),
        Route::Health => Ok(Reply::json(&json!({ "status": "ok" }))),
        Route::Metrics => {
            service.metrics.waiting.set(service.admission.waiting());
            Ok(Reply::of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", service.metrics.text().into()))
        }
        Route::Models => Ok(Reply::json(&models::list(&service))),
        Route::Model(name) => models::named(&service, name).map(|model| Reply::json(&model)),
        Route::Generate(style) => {
            let (body, place) = admitted(app, request, unread).await?;
            generate(service, body, place, style).await
        }
        Route::Embeddings => {
            let (body, place) = admitted(app, request, unread).await?;
            embeddings(service, body, place).await
        }
        Route::Rerank => {
            let (body, place) = admitted(app, request, unread).await?;
            rerank(service, body, place).await
        }
        Route::About(what) => {
            let (body, place) = admitted(app, request, unread).await?;
            about(service, body, place, what).await
        }
    }
}

/// The body of a request, and its place among those that wait.
async fn admitted(app: &App, request: Request<Incoming>, unread: &mut bool) -> Result<(Read, Place)> {
    let body = app.bodies.read(request, app.patience).await?;
    *unread = false;
    Ok((body, app.service.admission.admit()?))
}

/// What a browser asks before it asks for a page of another origin. That page may send what headers
/// it names: clients have their own.
fn preflight(route: &Route<'_>, asked: &HeaderMap) -> Reply {
    let mut reply = Reply::of(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
    let headers = reply.headers_mut();
    for name in [ALLOW, ACCESS_CONTROL_ALLOW_METHODS] {
        headers.insert(name, HeaderValue::from_static(route.methods()));
    }
    if let Some(named) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, named.clone());
    }
    reply
}
