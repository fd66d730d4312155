//! The service's own description, OpenAPI 3.1, made from the routes themselves.
//!
//! What every operation shares (path members, problems, security) is added here once, so that no handler repeats it.

use crate::{
    access::{self, Who},
    problem::ProblemBody,
    state::Api,
};
use axum::{
    Router,
    http::{Method, StatusCode},
};
use serde_json::{Map, Value, json};
use utoipa::{
    OpenApi,
    openapi::{InfoBuilder, OpenApiBuilder},
};
use utoipa_axum::router::OpenApiRouter;

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemBody)))]
struct Shared;

/// The router and the document's text.
pub(crate) fn build(routes: OpenApiRouter<Api>) -> (Router<Api>, String) {
    let info = InfoBuilder::new()
        .title("Hearthbeat")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Readings from home, findings, alerts and who answers for them."));
    let mut document = OpenApiBuilder::new().info(info).build();
    document.merge(Shared::openapi());
    let (router, found) = OpenApiRouter::with_openapi(document).merge(routes).split_for_parts();
    let text = serde_json::to_value(&found).map(complete).unwrap_or_default().to_string();
    (router, text)
}

/// The document alone, for `hearthbeat openapi`.
pub fn openapi_json() -> String {
    build(crate::routes::all()).1
}

fn complete(mut document: Value) -> Value {
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                finish(path, method, operation);
            }
        }
    }
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-hb_session"}
    });
    document
}

/// `get_alerts_id` for `GET /api/v1/alerts/{id}`: handlers share names, paths with their methods do not.
fn operation_id(path: &str, method: &str) -> String {
    let path = path.trim_start_matches("/api/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// A status in words.
fn words(status: &str) -> &'static str {
    let known = status.parse::<u16>().ok().and_then(|n| StatusCode::from_u16(n).ok());
    known.and_then(|s| s.canonical_reason()).unwrap_or("As described")
}

fn finish(path: &str, method: &str, operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let mut parameters = operation.remove("parameters").and_then(|p| p.as_array().cloned()).unwrap_or_default();
    for member in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        if !parameters.iter().any(|p| p["in"] == "path" && p["name"] == member) {
            parameters.push(json!({"name": member, "in": "path", "required": true, "schema": {"type": "string"}}));
        }
    }
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    let problem = json!({"description": "Why not", "content": {"application/problem+json":
        {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}});
    operation.insert("operationId".into(), operation_id(path, method).into());
    if let Some(responses) = operation.entry("responses").or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        for (status, response) in responses.iter_mut() {
            if response["description"].as_str().is_none_or(str::is_empty) {
                response["description"] = words(status).into();
            }
            if response["content"].is_null() && !status.starts_with('2') {
                response["content"] = problem["content"].clone();
            }
        }
        responses.insert("default".into(), problem);
    }
    let known = Method::from_bytes(method.to_uppercase().as_bytes()).ok();
    let rule = known.and_then(|m| access::rule(&m, path));
    if let Some(Who::Roles(roles)) = rule.map(|r| r.who) {
        operation.insert("security".into(), json!([{"bearer": []}, {"cookie": []}]));
        operation.insert("x-roles".into(), access::words(roles).split(' ').collect::<Vec<_>>().into());
    }
}
