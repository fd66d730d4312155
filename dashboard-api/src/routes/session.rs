//! Logging in and out, and who one is.

use crate::{
    admin,
    door::Peer,
    dto::UserView,
    extract::Body,
    guard::{self, PLAIN_COOKIE, SECURE_COOKIE},
    password,
    problem::{Answer, Problem},
    scope::Caller,
    sessions::Refused,
    state::{Api, Inner},
};
use axum::{
    Json,
    extract::{ConnectInfo, State},
    http::{Extensions, HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A login.
#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    username: String,
    password: String,
    /// A second factor, where one is set up; ignored otherwise.
    #[allow(dead_code)]
    code: Option<String>,
}

/// A session, with its token at the login only.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    user: UserView,
    expires_at: String,
    /// The site's zone.
    time_zone: String,
}

/// Logs in.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", request_body = Login,
    responses((status = 201, body = SessionView), (status = 401), (status = 429)))]
pub(super) async fn open(
    State(api): State<Api>,
    headers: HeaderMap,
    extensions: Extensions,
    Body(login): Body<Login>,
) -> Answer<Response> {
    if !guard::same_origin(&api, &headers) {
        return Err(guard::foreign());
    }
    let source = extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip().to_string());
    let name: String = login.username.chars().take(64).collect();
    if login.password.len() > password::LONGEST {
        return Err(wrong());
    }
    let opened = match api.sessions.open(&name, login.password).await {
        Ok(opened) => opened,
        Err(refused) => {
            api.trail.note(guard::login_row(&api, &name, source, "denied")).await;
            metrics::counter!("hearthbeat_api_login_failures_total").increment(1);
            return Err(why(refused));
        }
    };
    api.trail.note(guard::login_row(&api, &name, source, "ok")).await;
    let cookie = cookie(&api, Some(&opened.token));
    let view = SessionView {
        user: UserView::new(&opened.user, false).with_teams(&api),
        token: Some(opened.token),
        expires_at: api.time(opened.ends_at),
        time_zone: api.zone().name().to_owned(),
    };
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".into())], Json(view))
        .into_response())
}

fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "login", "the user name or the password is wrong")
        .header(header::WWW_AUTHENTICATE, "Bearer")
}

fn why(refused: Refused) -> Problem {
    match refused {
        Refused::Wrong => wrong(),
        Refused::Locked(wait) => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "locked", "too many wrong passwords for this name: wait")
                .header(header::RETRY_AFTER, &wait.as_secs().max(1).to_string())
        }
        Refused::Busy => Problem::busy("too many people are logging in: try again in a moment"),
        Refused::Store(e) => e.into(),
    }
}

/// `Set-Cookie`; without a token it is taken away.
fn cookie(api: &Inner, token: Option<&str>) -> String {
    let secure = api.config.public_url.starts_with("https://");
    let (name, more) = if secure { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    let end = if token.is_none() { "; Max-Age=0" } else { "" };
    format!("{name}={}; HttpOnly; SameSite=Lax; Path=/{more}{end}", token.unwrap_or_default())
}

/// Who am I.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses((status = 200, body = SessionView)))]
pub(super) async fn who(State(api): State<Api>, caller: Caller) -> Answer<Json<SessionView>> {
    let ends = api.sessions.end_of(caller.session).ok_or_else(Problem::unauthenticated)?;
    Ok(Json(SessionView {
        token: None,
        user: UserView::new(&caller.user, true).with_teams(&api),
        expires_at: api.time(ends),
        time_zone: api.zone().name().to_owned(),
    }))
}

/// Logs out.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", responses((status = 204)))]
pub(super) async fn close(State(api): State<Api>, caller: Caller) -> Answer<Response> {
    api.sessions.close(caller.session).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&api, None))]).into_response())
}

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    current: String,
    new: String,
}

/// Changes one's own password; every other session of the user ends.
#[utoipa::path(post, path = "/api/v1/session/password", tag = "session", request_body = NewPassword,
    responses((status = 204), (status = 403), (status = 429)))]
pub(super) async fn change_password(
    State(api): State<Api>,
    caller: Caller,
    Body(body): Body<NewPassword>,
) -> Answer<StatusCode> {
    admin::check_password(&body.new)?;
    let now = api.now();
    let name = &caller.user.username;
    api.sessions.guess(name, now).map_err(|wait| why(Refused::Locked(wait)))?;
    let fits = api.sessions.check(caller.user.password_hash.clone(), body.current).await;
    match fits {
        None => return Err(why(Refused::Busy)),
        Some(false) => return Err(Problem::new(StatusCode::FORBIDDEN, "password", "current: it is not the password")),
        Some(true) => api.sessions.forgive(name, now),
    }
    let mut user = store::User::clone(&caller.user);
    user.password_hash = Some(password::hash_later(body.new).await.map_err(admin::AdminError::from)?);
    user.must_change_password = false;
    api.store.update_user(user).await?;
    api.sessions.close_others_of(caller.user.id, caller.session).await?;
    Ok(StatusCode::NO_CONTENT)
}
