//! The pages: one document for every address that may be bookmarked, and its assets, embedded in the program.

use crate::{access, problem::Problem, state::Api};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use rust_embed::RustEmbed;
use serde_json::Value;

#[derive(RustEmbed)]
#[folder = "web/dist/"]
struct Dist;

/// Hashed names never change their content.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// The pages' addresses; `contract/http-api.md` fixes them.
pub(crate) fn pages() -> Router<Api> {
    let mut router = Router::new().route("/assets/{*path}", get(asset)).route("/favicon.ico", get(icon));
    for path in ["/", "/login", "/alerts", "/alerts/{id}", "/patients/{id}", "/me", "/ops", "/rules", "/rules/{id}"] {
        router = router.route(path, get(index));
    }
    router
}

async fn index() -> Response {
    match Dist::get("index.html") {
        Some(file) => {
            let mut response = Html(file.data).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        None => Problem::not_found().into_response(),
    }
}

async fn icon() -> StatusCode {
    StatusCode::NO_CONTENT // the page names its own
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Dist::get(&format!("assets/{path}")) else { return Problem::not_found().into_response() };
    let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let kind = match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    let own =
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CACHE_CONTROL, FOREVER.to_owned()), (header::ETAG, etag)];
    (own, file.data).into_response()
}

/// This service's own description.
#[utoipa::path(get, path = "/api/openapi.json", tag = "documentation", responses((status = 200, body = Object)))]
pub(super) async fn document(State(api): State<Api>) -> Response {
    let text = api.openapi.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

/// The same for people, without a script and without another site.
#[utoipa::path(get, path = "/api/docs", tag = "documentation", responses((status = 200, body = String, content_type = "text/html")))]
pub(super) async fn docs(State(api): State<Api>) -> Html<String> {
    let document: Value = api.openapi.get().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>Hearthbeat API</title></head><body><main><h1>Hearthbeat API</h1>\
         <p>Drawn from <a href=\"/api/openapi.json\">/api/openapi.json</a>.</p>",
    );
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            html.push_str(&section(path, method, operation));
        }
    }
    html.push_str("<h1>Schemas</h1>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        html.push_str(&format!(
            "<details id=\"{0}\"><summary>{0}</summary><pre>{1}</pre></details>",
            escape(name),
            escape(&text)
        ));
    }
    html.push_str("</main></body></html>");
    Html(html)
}

fn section(path: &str, method: &str, operation: &Value) -> String {
    let words = operation["summary"].as_str().or(operation["description"].as_str()).unwrap_or_default();
    let known = axum::http::Method::from_bytes(method.to_uppercase().as_bytes()).ok();
    let who = match known.and_then(|m| access::rule(&m, path)).map(|r| r.who) {
        Some(access::Who::Roles(roles)) => access::words(roles),
        _ => "no login".to_owned(),
    };
    let parameters: Vec<String> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            let text = |name: &str| escape(p[name].as_str().unwrap_or_default());
            format!("<li><code>{}</code> ({}) {}</li>", text("name"), text("in"), text("description"))
        })
        .collect();
    let body = &operation["requestBody"]["content"];
    let body =
        if body.is_null() { String::new() } else { format!("<p>Body: <code>{}</code></p>", escape(&body.to_string())) };
    let answers: Vec<String> =
        operation["responses"].as_object().into_iter().flatten().map(|(status, _)| escape(status)).collect();
    format!(
        "<section><h2><code>{} {}</code></h2><p>{}</p><p>For: {}</p><ul>{}</ul>{}<p>Answers: {}</p></section>",
        method.to_uppercase(),
        escape(path),
        escape(words),
        escape(&who),
        parameters.concat(),
        body,
        answers.join(", ")
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
