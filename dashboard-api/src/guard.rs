//! What stands before every handler: who calls, may they call this, may this page make them call it; and what is
//! written down of it afterwards.

use crate::{
    access::{self, Rule, Who},
    door::Peer,
    problem::Problem,
    scope::Caller,
    state::Api,
};
use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use store::AuditRow;

/// The cookie over TLS; browsers take the `__Host-` name only with `Secure` and `Path=/`.
pub(crate) const SECURE_COOKIE: &str = "__Host-hb_session";
/// The cookie on plain loopback HTTP.
pub(crate) const PLAIN_COOKIE: &str = "hb_session";

/// A handler's word for the record it made, for the audit.
#[derive(Clone, Debug)]
pub(crate) struct Made(pub(crate) String);

/// The token that a request carries, and whether a browser sent it by itself.
struct Credential<'a> {
    token: &'a str,
    cookie: bool,
}

/// A handler's word for each record of a call that was about many, for the audit.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) action: String,
    /// A record's id as the caller gave it, and how it would have been answered alone.
    pub(crate) each: Vec<(String, StatusCode)>,
}

/// The audit's word for an act on an alert.
pub(crate) fn act_word(action: &str) -> String {
    format!("alert.{}", action.replace('-', "_"))
}

/// The middleware. Runs for every route that exists.
///
/// A handler is dropped where it stands when its caller goes away. A read may be; what changes something runs to its end,
/// with its row in the audit, whoever still listens.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if safe(request.method()) {
        return pass(api, request, next).await;
    }
    let under_way = api.changes.subscribe();
    let change = tokio::spawn(async move {
        let response = pass(api, request, next).await;
        drop(under_way);
        response
    });
    match change.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(response) => response,
        // The layer outside answers, as for a read.
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Problem::busy("the service is stopping").into_response(),
    }
}

/// Asks who calls, lets the request through, and writes it down.
async fn pass(api: Api, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let Some(rule) = access::rule(request.method(), &path) else {
        return Problem::forbidden().into_response();
    };
    let admitted = admit(&api, rule, &request);
    let caller = match admitted {
        Ok(caller) => caller,
        Err((caller, problem)) => {
            let refused = caller.map(|caller| row(&api, rule, &caller, &request, "denied"));
            if let Some(row) = refused {
                api.trail.note(row).await;
            }
            return problem.into_response();
        }
    };
    let Some(caller) = caller else { return next.run(request).await };
    let row = row(&api, rule, &caller, &request, "ok");
    let change = !safe(request.method());
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    let each = named(&row, &response);
    if let Some(row) = outcome(row, &response) {
        for row in each {
            api.trail.note(row).await;
        }
        api.trail.note(row).await;
        if change {
            api.trail.flush().await;
        }
    }
    response
}

type Turned = (Option<Caller>, Problem);

/// The caller, nobody (where nobody is needed), or why not.
fn admit(api: &Api, rule: &Rule, request: &Request) -> Result<Option<Caller>, Turned> {
    let Who::Roles(roles) = rule.who else { return Ok(None) };
    let found = credential(request.headers()).and_then(|c| api.sessions.find(c.token).map(|found| (found, c.cookie)));
    let Some(((user, key), cookie)) = found else { return Err((None, Problem::unauthenticated())) };
    let caller = Caller::new(user, key, api.directory());
    if cookie && !safe(request.method()) && !same_origin(api, request.headers()) {
        return Err((Some(caller), foreign()));
    }
    if caller.roles & roles == 0 {
        return Err((Some(caller), Problem::forbidden()));
    }
    Ok(Some(caller))
}

/// 403: another page made the browser do this.
pub(crate) fn foreign() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign-origin", "this request comes from another site")
}

fn safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().ok()?;
        let (scheme, token) = text.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some(Credential { token: token.trim(), cookie: false });
    }
    cookie(headers).map(|token| Credential { token, cookie: true })
}

/// The session cookie's value.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SECURE_COOKIE || *name == PLAIN_COOKIE)
        .map(|(_, token)| token)
}

/// Browsers say where a request was made; programs that keep cookies say nothing, and may.
pub(crate) fn same_origin(api: &Api, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if headers.contains_key(header::ORIGIN) {
        let Some(origin) = text("origin") else { return false };
        let ours = api.config.public_url.trim_end_matches('/');
        let host = origin.split_once("://").map(|(_, host)| host);
        return (!ours.is_empty() && origin == ours) || (host.is_some() && host == text("host"));
    }
    matches!(text("sec-fetch-site"), None | Some("same-origin" | "none"))
}

fn row(api: &Api, rule: &Rule, caller: &Caller, request: &Request, result: &'static str) -> AuditRow {
    let path = request.uri().path();
    let action = match (rule.action, path.rsplit('/').next()) {
        ("alert.act", Some(action)) => act_word(action),
        ("", _) => "access".to_owned(),
        (action, _) => action.to_owned(),
    };
    AuditRow {
        at: api.now(),
        user: Some(caller.user.id),
        username: Some(caller.user.username.clone()),
        role: Some(access::words(caller.roles)),
        action,
        path: path.to_owned(),
        reference: reference(rule.path, path),
        source: source(request),
        result,
    }
}

/// The caller's network address.
pub(crate) fn source(request: &Request) -> Option<String> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip().to_string())
}

/// What stands where the route has its first `{…}`.
fn reference(route: &str, path: &str) -> Option<String> {
    let member = route.split('/').position(|part| part.starts_with('{'))?;
    path.split('/').nth(member).map(ToOwned::to_owned)
}

/// One row for each record of a call that was about many.
fn named(row: &AuditRow, response: &Response) -> Vec<AuditRow> {
    let Some(Named { action, each }) = response.extensions().get::<Named>() else { return Vec::new() };
    each.iter()
        .filter_map(|(id, status)| {
            let (reference, result) = (Some(id.clone()), result(*status)?);
            Some(AuditRow { action: action.clone(), reference, result, ..row.clone() })
        })
        .collect()
}

/// None for what was refused as nonsense.
fn result(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::NOT_FOUND => Some("not_found"),
        StatusCode::FORBIDDEN => Some("denied"),
        s if s.is_success() => Some("ok"),
        _ => None,
    }
}

/// The row as it is to be kept; none where nothing was seen or changed.
fn outcome(mut row: AuditRow, response: &Response) -> Option<AuditRow> {
    row.result = result(response.status())?;
    if row.action == "access" && row.result == "ok" {
        return None; // a list of organisations is no secret
    }
    if let Some(Made(id)) = response.extensions().get::<Made>() {
        row.reference = Some(id.clone());
    }
    Some(row)
}

/// A login or its refusal, which has no caller yet.
pub(crate) fn login_row(api: &Api, username: &str, source: Option<String>, result: &'static str) -> AuditRow {
    let user = api.directory().user_named(username);
    AuditRow {
        at: api.now(),
        user: user.as_ref().map(|u| u.id),
        // A name that nobody has may be a password typed into the wrong field.
        username: user.as_ref().map(|u| u.username.clone()),
        role: user.as_ref().map(|u| access::words(access::bits(&u.roles))),
        action: "session.open".into(),
        path: "/api/v1/session".into(),
        reference: None,
        source,
        result,
    }
}
