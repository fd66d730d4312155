//! The acknowledge link in a message: a page with one button. Opening it changes nothing; mail scanners open links.
//!
//! The signed token is the authority; no login, no cookie, no name and no value on the page.

use crate::{
    problem::{Answer, Problem},
    state::{Api, Inner},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use store::{Action, AlertState, AuditRow, Command, CommandError, Episode, Link, LinkError};

const CSP: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Words in the reader's language.
struct Words {
    lang: &'static str,
    title: &'static str,
    ask: &'static str,
    button: &'static str,
    done: &'static str,
    open: &'static str,
}

const ZH: Words = Words {
    lang: "zh-CN",
    title: "确认收到告警",
    ask: "有一条告警等待您确认。按下按钮表示您已收到并负责处理。",
    button: "确认收到",
    done: "已确认。请尽快联系患者并在系统中记录。",
    open: "打开告警",
};
const EN: Words = Words {
    lang: "en",
    title: "Acknowledge an alert",
    ask: "An alert waits for you. The button says that you have received it and take it on.",
    button: "Acknowledge",
    done: "Acknowledged. Please contact the patient soon and log the contact.",
    open: "Open the alert",
};

fn words(api: &Inner, link: &Link, headers: &HeaderMap) -> &'static Words {
    let own = api.directory().user(link.user).and_then(|u| u.locale.clone());
    let browser = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
    match own.or(browser) {
        Some(lang) if lang.to_ascii_lowercase().starts_with("en") => &EN,
        _ => &ZH,
    }
}

fn page(w: &Words, text: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" content=\"noindex\"><title>{}</title></head>\
         <body><main><h1>{}</h1><p>{}</p>{}</main></body></html>",
        w.lang, w.title, w.title, text, body
    );
    dressed(Html(html).into_response())
}

fn dressed(mut response: Response) -> Response {
    let own: [(HeaderName, &'static str); 3] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CSP),
    ];
    for (name, value) in own {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refused(e: LinkError) -> Response {
    let status = match e {
        LinkError::Tampered | LinkError::Disabled => StatusCode::FORBIDDEN,
        LinkError::Expired | LinkError::OldCycle => StatusCode::GONE,
        LinkError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    dressed(Problem::new(status, "link", e.to_string()).into_response())
}

async fn find(api: &Inner, token: String) -> Result<Link, Response> {
    (api.links.read_link)(token).await.map_err(refused)
}

/// A page with one button. Changes nothing.
#[utoipa::path(get, path = "/api/v1/a/{token}", tag = "alerts",
    responses((status = 200, body = String, content_type = "text/html"), (status = 403), (status = 410)))]
pub(super) async fn show(State(api): State<Api>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let link = match find(&api, token).await {
        Ok(link) => link,
        Err(response) => return response,
    };
    let w = words(&api, &link, &headers);
    // Without an action the form goes to this very address.
    page(w, w.ask, &format!("<form method=\"post\"><button type=\"submit\">{}</button></form>", w.button))
}

/// Acknowledges on behalf of the person to whom the link was sent.
#[utoipa::path(post, path = "/api/v1/a/{token}", tag = "alerts",
    responses((status = 200, body = String, content_type = "text/html"), (status = 403), (status = 410)))]
pub(super) async fn follow(State(api): State<Api>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let link = match find(&api, token).await {
        Ok(link) => link,
        Err(response) => return response,
    };
    let outcome = acknowledge(&api, &link).await;
    write_down(&api, &link, outcome.is_ok()).await;
    match outcome {
        Ok(episode) => {
            let w = words(&api, &link, &headers);
            page(w, w.done, &format!("<p><a href=\"/alerts/{}\">{}</a></p>", episode.id, w.open))
        }
        Err(problem) => dressed(problem.into_response()),
    }
}

async fn acknowledge(api: &Inner, link: &Link) -> Answer<Episode> {
    let command = Command { alert: link.alert, action: Action::Ack, by: link.user, once: None };
    match (api.links.act)(command).await {
        Ok(episode) => Ok(episode),
        // Whoever comes later learns that it is in hand, not that they did wrong.
        Err(CommandError::State(AlertState::Acknowledged | AlertState::FollowUp)) => {
            api.store.episode(link.alert).await?.ok_or_else(Problem::not_found)
        }
        Err(e) => Err(e.into()),
    }
}

async fn write_down(api: &Inner, link: &Link, done: bool) {
    let user = api.directory().user(link.user);
    let row = AuditRow {
        at: api.now(),
        user: Some(link.user),
        username: user.as_ref().map(|u| u.username.clone()),
        role: user.as_ref().map(|u| crate::access::words(crate::access::bits(&u.roles))),
        action: "alert.ack".into(),
        path: "/api/v1/a/…".into(),
        reference: Some(link.alert.to_string()),
        source: None,
        result: if done { "ok" } else { "denied" },
    };
    api.trail.note(row).await;
    api.trail.flush().await;
}
