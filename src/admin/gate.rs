//! Who may ask the API at all, and who may change something.
//!
//! A page of the web can make the browser of somebody in the farm's network ask anything of any address: by a name of its
//! own that it lets lead here, by a form, by a WebSocket. So the Host header must name this host, an Origin header must be
//! of the same host, and what changes something needs a token. Metrics and health are open as ever.

use super::refusal::{closing, refuse};
use super::server::Line;
use crate::config::ApiConfig;
use crate::refusals::{ApiRefusal, ApiRefusals};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use ring::digest::{Digest, SHA256, digest};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// The time between two lines of the log about refused requests; those between are counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Holds every request against the rules.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// Token and hosts; a reload may change them.
    api: watch::Receiver<ApiConfig>,
    refusals: ApiRefusals,
    warned: Mutex<Option<(Instant, u64)>>,
}

impl Gate {
    pub(super) fn new(api: watch::Receiver<ApiConfig>, refusals: ApiRefusals) -> Gate {
        Gate(Arc::new(Rules { api, refusals, warned: Mutex::new(None) }))
    }

    /// The digest of the token, so that a comparison tells not even its length.
    fn token(&self) -> Option<Digest> {
        let api = self.0.api.borrow();
        let token = Some(api.token.reveal()).filter(|token| !token.is_empty());
        token.map(|token| digest(&SHA256, token.as_bytes()))
    }

    /// Whether there is a token, without which there are no actions.
    pub(super) fn has_actions(&self) -> bool {
        self.token().is_some()
    }

    /// Whether the request comes from where it may, as far as its headers tell.
    fn check_origin(&self, headers: &HeaderMap, local: Option<SocketAddr>) -> Result<(), ApiRefusal> {
        let host = only(headers, HOST).and_then(|host| host.parse::<Authority>().ok());
        let host = host.filter(|host| self.is_ours(host.host(), local)).ok_or(ApiRefusal::Host)?;
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = only(headers, ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
        let is_same = origin.is_some_and(|origin| {
            let standard = if origin.scheme_str() == Some("https") { 443 } else { 80 };
            origin.authority().is_some_and(|authority| {
                authority.host().eq_ignore_ascii_case(host.host())
                    && authority.port_u16().unwrap_or(standard) == host.port_u16().unwrap_or(standard)
            })
        });
        if is_same { Ok(()) } else { Err(ApiRefusal::Origin) }
    }

    fn is_ours(&self, host: &str, local: Option<SocketAddr>) -> bool {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost"
            || self.0.api.borrow().hosts.iter().any(|host| host.eq_ignore_ascii_case(&name))
        {
            return true;
        }
        let ip: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let local = local.map(|local| local.ip().to_canonical());
        ip.is_some_and(|ip| ip.to_canonical().is_loopback() || Some(ip.to_canonical()) == local)
    }

    /// Whether the request may change something.
    fn check_token(&self, headers: &HeaderMap) -> Result<(), ApiRefusal> {
        let token = self.token().ok_or(ApiRefusal::NoActions)?;
        let given = only(headers, AUTHORIZATION).and_then(|value| value.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, given) = given.ok_or(ApiRefusal::NoToken)?;
        let given = digest(&SHA256, given.trim().as_bytes());
        if bool::from(given.as_ref().ct_eq(token.as_ref())) { Ok(()) } else { Err(ApiRefusal::WrongToken) }
    }

    fn refuse(&self, refusal: ApiRefusal, path: &str) -> Response {
        self.0.refusals.add(refusal);
        self.warn(refusal, path);
        let status = match refusal {
            ApiRefusal::Host | ApiRefusal::Origin | ApiRefusal::NoActions => StatusCode::FORBIDDEN,
            ApiRefusal::NoToken | ApiRefusal::WrongToken => StatusCode::UNAUTHORIZED,
        };
        let mut response = closing(refuse(status, refusal.told()));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// Somebody should know, and whoever tries tokens should not fill the log.
    fn warn(&self, refusal: ApiRefusal, path: &str) {
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match warned.as_mut() {
            Some((at, unlogged)) if now.duration_since(*at) < WARN_EVERY => *unlogged += 1,
            Some(_) | None => {
                let unlogged = warned.map_or(0, |(_, unlogged)| unlogged);
                tracing::warn!(reason = refusal.label(), path, unlogged, "a request to the API was refused");
                *warned = Some((now, 0));
            }
        }
    }
}

/// The value of a header that stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// Lets those in who ask this host by its name, and not for somebody else.
pub(super) async fn from_here(
    State(gate): State<Gate>,
    line: Option<Extension<Line>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let local = line.and_then(|line| line.local());
    match gate.check_origin(request.headers(), local) {
        Ok(()) => next.run(request).await,
        Err(refusal) => gate.refuse(refusal, request.uri().path()),
    }
}

/// Lets those in who have the token.
pub(super) async fn with_token(State(gate): State<Gate>, request: Request<Body>, next: Next) -> Response {
    match gate.check_token(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => gate.refuse(refusal, request.uri().path()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn gate(token: &str) -> Gate {
        let config = ApiConfig { token: Secret::new(token), hosts: vec!["Farm.example".to_owned()] };
        Gate::new(tokio::sync::watch::channel(config).1, ApiRefusals::default())
    }

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn hosts_and_origins() {
        let local = Some("10.0.0.5:9090".parse().unwrap());
        let check = |list: &[(HeaderName, &str)]| gate("").check_origin(&headers(list), local);
        let ours = ["localhost", "LOCALHOST:9090", "localhost.", "127.0.0.1:9090", "127.9.9.9", "[::1]:9090"];
        for host in ours.into_iter().chain(["10.0.0.5:9090", "farm.example", "[::ffff:127.0.0.1]"]) {
            assert_eq!(check(&[(HOST, host)]), Ok(()), "{host}");
        }
        for host in ["", "evil.example", "10.0.0.6", "localhost.evil.example", "a@localhost:1:2", "[::2]"] {
            assert_eq!(check(&[(HOST, host)]), Err(ApiRefusal::Host), "{host}");
        }
        assert_eq!(check(&[]), Err(ApiRefusal::Host));
        assert_eq!(check(&[(HOST, "localhost"), (HOST, "localhost")]), Err(ApiRefusal::Host));
        for (origin, expected) in [
            ("http://localhost:9090", Ok(())),
            ("https://LOCALHOST:9090", Ok(())),
            ("http://localhost", Err(ApiRefusal::Origin)),
            ("http://localhost:3000", Err(ApiRefusal::Origin)),
            ("http://evil.example:9090", Err(ApiRefusal::Origin)),
            ("null", Err(ApiRefusal::Origin)),
            ("", Err(ApiRefusal::Origin)),
        ] {
            assert_eq!(check(&[(HOST, "localhost:9090"), (ORIGIN, origin)]), expected, "{origin}");
        }
        let behind = [(HOST, "farm.example"), (ORIGIN, "https://farm.example")];
        assert_eq!(check(&behind), Ok(()), "a reverse proxy that speaks TLS");
    }

    #[test]
    fn tokens() {
        let token = "0123456789abcdef";
        let check = |value: &str| gate(token).check_token(&headers(&[(AUTHORIZATION, value)]));
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(check("bearer 0123456789abcdef"), Ok(()));
        for wrong in
            ["Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Bearer ", "Bearer 0123456789abcdef0"]
        {
            assert_eq!(check(wrong), Err(ApiRefusal::WrongToken), "{wrong}");
        }
        for none in ["", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(check(none), Err(ApiRefusal::NoToken), "{none}");
        }
        assert_eq!(gate("").check_token(&headers(&[(AUTHORIZATION, "Bearer ")])), Err(ApiRefusal::NoActions));
    }

    #[test]
    fn refusals_are_counted() {
        let gate = gate("");
        assert_eq!(gate.refuse(ApiRefusal::WrongToken, "/x").status(), 401);
        assert_eq!(gate.refuse(ApiRefusal::Host, "/x").status(), 403);
        assert_eq!(gate.0.refusals.count(ApiRefusal::WrongToken), 1);
        assert_eq!(gate.0.refusals.count(ApiRefusal::Origin), 0);
    }
}
