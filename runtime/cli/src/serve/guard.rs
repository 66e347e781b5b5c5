//! Who may ask: the key, the name that the server was called by, and the page that a browser asks
//! for.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};

use super::error::ApiError;

type Result<T> = std::result::Result<T, ApiError>;

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// What a request has to show, if anything.
    pub(crate) key: Option<String>,
    /// The pages of other origins that may ask.
    pub(crate) cors: Option<Cors>,
}

/// Pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cors {
    /// All of them.
    Any,
    /// Those of one origin, as browsers write it.
    Origin(String),
}

impl FromStr for Cors {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let expected = || format!("{text:?} is no origin: give a scheme and a host, such as https://example.org, or *");
        let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").ok_or_else(expected)?;
        let fits = |part: &str| !part.is_empty() && !part.contains(['/', '?', '#', '@', ' ', '*']);
        if fits(scheme) && fits(host) { Ok(Self::Origin(origin)) } else { Err(expected()) }
    }
}

impl Guard {
    /// That a request comes from where requests may come from. Without a key the server is one of
    /// this machine alone: a name in `Host` that is not of it is a page of the web whose name was
    /// made to point here (DNS rebinding).
    pub(crate) fn check_source(&self, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        let refused = |message: &str| Err(ApiError::new(StatusCode::FORBIDDEN, message));
        if headers.get_all(HOST).iter().count() > 1 {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "there is more than one header Host"));
        }
        let host = text(headers, &HOST).unwrap_or_default();
        // A target may name a host as well (`GET http://HOST/PATH`): it counts as much.
        let authority = uri.authority().map(Authority::as_str);
        if self.key.is_none() && !(is_loopback(host) && authority.is_none_or(is_loopback)) {
            return refused(
                "the header Host, or the target, names no loopback address: without a key the server is for this machine alone",
            );
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = text(headers, &ORIGIN).unwrap_or_default();
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if own == Some(host) || self.allowed_origin(headers).is_some() {
            return Ok(());
        }
        refused("a page of another origin may not ask: name it with --cors")
    }

    /// That a request has the key.
    pub(crate) fn check_key(&self, headers: &HeaderMap) -> Result<()> {
        let Some(key) = &self.key else { return Ok(()) };
        let given = text(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key);
        if is_same(given.unwrap_or_default().trim().as_bytes(), key.as_bytes()) {
            return Ok(());
        }
        let message = "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'";
        Err(ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key"))
    }

    /// The origin of a page that may see the reply, if it is one.
    pub(crate) fn allowed_origin<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let origin = text(headers, &ORIGIN)?;
        let is_allowed = match self.cors.as_ref()? {
            Cors::Any => true,
            Cors::Origin(allowed) => origin == allowed,
        };
        is_allowed.then_some(origin)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether both are the same, in a time that tells nothing but the length of what was given.
fn is_same(given: &[u8], key: &[u8]) -> bool {
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let different = given.iter().enumerate().fold(0, |all, (at, given)| std::hint::black_box(all | (given ^ byte(at))));
    different == 0 && given.len() == key.len()
}

/// Whether a name with or without a port is of this machine.
fn is_loopback(host: &str) -> bool {
    let Some((name, port)) = name_and_port(host) else { return false };
    let name = name.to_ascii_lowercase();
    port.bytes().all(|byte| byte.is_ascii_digit())
        && (name == "localhost"
            || name.ends_with(".localhost")
            || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()))
}

/// A name and its port, which may be missing. An address of IPv6 stands in brackets, nothing else
/// does.
fn name_and_port(host: &str) -> Option<(&str, &str)> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(name, _)| name.parse::<Ipv6Addr>().is_ok())?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
    Some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn names_of_this_machine_are_told_from_others() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "a.localhost:1",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "[::1]",
            "localhost:",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org:80",
            "10.0.0.1",
            "[::2]:1",
            "[::1]evil",
            "[::1",
            "::1",
            "[127.0.0.1]",
            "localhost:evil",
            "127.0.0.1:80:evil",
            "evil.example:localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn pages_of_others_may_not_ask() {
        let guard = Guard { key: None, cors: Some("https://A.example/".parse().unwrap()) };
        let source = |list: &[(&'static str, &str)]| guard.check_source(&Uri::from_static("/"), &headers(list)).is_ok();
        assert!(source(&[("host", "localhost:1")]));
        assert!(source(&[("host", "localhost:1"), ("origin", "http://localhost:1")]));
        assert!(source(&[("host", "localhost:1"), ("origin", "https://a.example")]));
        assert!(!source(&[("host", "localhost:1"), ("origin", "http://localhost:2")]));
        assert!(!source(&[("host", "localhost:1"), ("origin", "null")]));
        assert!(!source(&[("host", "localhost:1"), ("origin", "http://é.example")]));
        assert!(!source(&[("host", "evil.example")]) && !source(&[]));
        assert!(!source(&[("host", "localhost:1"), ("host", "evil.example")]));
        let absolute = |target| guard.check_source(&Uri::from_static(target), &headers(&[("host", "localhost:1")]));
        assert!(absolute("http://localhost:1/health").is_ok() && absolute("http://evil.example/health").is_err());
        let open = Guard { key: None, cors: Some("*".parse().unwrap()) };
        let origin = headers(&[("host", "localhost:1"), ("origin", "http://b.example")]);
        assert!(open.check_source(&Uri::from_static("/"), &origin).is_ok());
        assert_eq!(open.allowed_origin(&origin), Some("http://b.example"));
        for wrong in ["", "a.example", "https://", "https://a.example/x", "https://*.example"] {
            assert!(wrong.parse::<Cors>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_all_of_it() {
        let guard = Guard { key: Some("secret".to_owned()), cors: None };
        let key = |value: &str| guard.check_key(&headers(&[("authorization", value)])).is_ok();
        assert!(key("Bearer secret") && key("bearer secret") && key("BEARER  secret"));
        assert!(guard.check_source(&Uri::from_static("/"), &headers(&[("host", "far.example")])).is_ok());
        for wrong in ["secret", "Bearer ", "Bearer secre", "Bearer secrets", "Bearer Secret", "Basic secret"] {
            assert!(!key(wrong), "{wrong}");
        }
        assert!(guard.check_key(&HeaderMap::new()).is_err());
    }
}
