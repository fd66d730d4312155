//! How the API answers whatever is asked of it: problems, headers, ETags, origins, and its own description.

use crate::common::World;
use axum::{body::Body, http::Request};
use serde_json::{Value, json};

#[tokio::test]
async fn every_error_is_a_problem_document_that_names_the_member_and_echoes_nothing() {
    let world = World::new().await;
    let admin = &world.admin;
    world.get("/api/v1/no-such-thing", admin).await.problem(404);
    world.get("/no-such-page", "").await.problem(404);
    world.get("/api/v1/patients/p_nobody/readings", admin).await.problem(404);
    world.get("/api/v1/alerts", "").await.problem(401);
    world.get("/api/v1/alerts", "nonsense").await.problem(401);
    world.call("PUT", "/api/v1/session", json!({}), admin, &[]).await.problem(405);
    world.get("/api/v1/patients?limit=many", admin).await.problem(400);
    world.get("/api/v1/patients?limit=201", admin).await.problem(400);
    world.get("/api/v1/patients?cursor=nonsense", admin).await.problem(400);
    let broken = Request::post("/api/v1/patients").header("authorization", format!("Bearer {admin}"));
    world.send(broken.body(Body::from("{\"name\":")).unwrap()).await.problem(400);
    let wrong = world.post("/api/v1/patients", json!({"name": 4711}), admin).await.problem(400);
    assert!(wrong["detail"].as_str().unwrap().starts_with("name: must be a string"), "{wrong}");
    let deep = json!({"name": "T", "organisationId": "o_x", "members": [{"userId": "Secret Name", "role": "gp"}]});
    let wrong = world.post("/api/v1/teams", deep, admin).await.problem(400);
    assert!(!wrong.to_string().contains("Secret"), "{wrong}");
    let wrong =
        world.post("/api/v1/patients", json!({"name": "X", "birthDate": "1958-02-30"}), admin).await.problem(422);
    assert_eq!(wrong["field"], "birthDate");
    // What nobody knows is no error.
    world.post("/api/v1/patients", json!({"name": "X", "vendor": {"a": 1}}), admin).await.must(201);
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let world = World::new().await;
    for path in ["/api/v1/session", "/livez", "/readyz?verbose", "/metrics", "/api/openapi.json", "/api/docs", "/"] {
        let answer = world.get(path, &world.admin).await.must(200);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(
            path.starts_with("/api/openapi") || path == "/" || answer.header("cache-control") == "no-store",
            "{path}"
        );
    }
    let checks = world.get("/readyz?verbose", "").await.must(200).json();
    assert_eq!(checks["checks"][0]["name"], "journal");
    for page in ["/login", "/alerts", "/alerts/a_1", "/patients/p_1", "/me", "/ops"] {
        assert!(world.get(page, "").await.must(200).header("content-type").starts_with("text/html"));
    }
}

#[tokio::test]
async fn an_edit_needs_the_version_that_it_is_based_on() {
    let world = World::new().await;
    let admin = &world.admin;
    let ids = world.district("1").await;
    let path = format!("/api/v1/patients/{}/plan", ids["patient-record"]);
    let shown = world.get(&path, admin).await.must(200);
    let etag = shown.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 2, "a strong ETag: {etag}");
    let plan = json!({"targets": {"homeSystolic": 135}, "measuring": {}, "medications": [], "parameters": {}});
    world.call("PUT", &path, plan.clone(), admin, &[]).await.problem(428);
    let changed = world.call("PUT", &path, plan.clone(), admin, &[("if-match", &etag)]).await.must(200);
    assert_ne!(changed.header("etag"), etag);
    world.call("PUT", &path, plan, admin, &[("if-match", &etag)]).await.problem(412);
    assert_eq!(world.get(&path, admin).await.json()["targets"]["homeSystolic"], 135.0);
    for (kind, id) in [("teams", &ids["team"]), ("users", &ids["gp"])] {
        let path = format!("/api/v1/{kind}/{id}");
        world.call("PATCH", &path, json!({"name": "New"}), admin, &[]).await.problem(428);
        let etag = world.get(&path, admin).await.must(200).header("etag").to_owned();
        world.call("PATCH", &path, json!({"name": "New"}), admin, &[("if-match", &etag)]).await.must(200);
        world.call("PATCH", &path, json!({"name": "Newer"}), admin, &[("if-match", &etag)]).await.problem(412);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_problem_document_too() {
    let world = World::new().await;
    let request = Request::post("/api/v1/import").header("authorization", format!("Bearer {}", world.admin));
    let answer = world.send(request.body(Body::from(vec![b'x'; 64 * 1024 * 1024 + 1])).unwrap()).await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    answer.problem(413);
    let long = Request::post("/api/v1/import").header("content-length", "70000000");
    world.send(long.body(Body::empty()).unwrap()).await.problem(413);
}

#[tokio::test]
async fn a_plan_that_is_none_wipes_nothing() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let path = format!("/api/v1/patients/{}/plan", ids["patient-record"]);
    let put = async |body: Value| world.call("PUT", &path, body, &world.admin, &[("if-match", "*")]).await;
    put(json!({"targets": {"homeSystolic": 135}})).await.must(200);
    put(json!([])).await.problem(400);
    let wrong = put(json!({"targets": {"homeSystolc": 130}})).await.problem(422);
    assert_eq!(wrong["field"], "targets.homeSystolc");
    assert!(wrong["detail"].as_str().unwrap().contains("homeSystolic"), "{wrong}");
    assert_eq!(world.get(&path, &world.admin).await.json()["targets"]["homeSystolic"], 135.0);
}

#[tokio::test]
async fn hours_that_the_alerts_cannot_read_are_refused_by_name() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let path = format!("/api/v1/organisations/{}", ids["station"]);
    let set = async |opening: Value| world.call("PATCH", &path, json!({"opening": opening}), &world.admin, &[]).await;
    let days = |days: Value| json!({"from": "08:00", "to": "12:00", "days": days});
    for (opening, field) in [
        (json!("x"), "opening"),
        (json!({"from": "08:00"}), "opening"),
        (json!({"mon": ["08:00-12:00"]}), "opening"),
        (json!({"from": "x", "to": "12:00"}), "opening.from"),
        (json!({"from": "8:00", "to": "12:00"}), "opening.from"),
        (json!({"from": "08:00", "to": "24:00"}), "opening.to"),
        (json!({"from": "08:00", "to": "12:60"}), "opening.to"),
        (json!({"from": "18:00", "to": "08:00"}), "opening.to"),
        (json!({"from": "08:00", "to": "08:00"}), "opening.to"),
        (days(json!(["noday"])), "opening.days"),
        (days(json!([])), "opening.days"),
    ] {
        assert_eq!(set(opening.clone()).await.problem(422)["field"], field, "{opening}");
        let new = json!({"name": "S", "kind": "station", "parentId": ids["station"], "opening": opening});
        assert_eq!(world.post("/api/v1/organisations", new, &world.admin).await.problem(422)["field"], field);
    }
    for good in [json!({"from": "08:00", "to": "12:00"}), days(json!(["mon", "sat"])), Value::Null] {
        assert_eq!(set(good.clone()).await.must(200).json()["opening"], good);
    }
}

#[tokio::test]
async fn a_cookie_changes_something_only_for_a_page_of_this_site() {
    let world = World::new().await;
    let cookie = format!("hb_session={}", world.admin);
    let ask = |origin: &'static str, token: bool| {
        let mut request = Request::post("/api/v1/patients").header("host", "127.0.0.1:8080");
        request = if token {
            request.header("authorization", format!("Bearer {}", world.admin))
        } else {
            request.header("cookie", &cookie)
        };
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        world.send(request.body(Body::from(json!({"name": "X"}).to_string())).unwrap())
    };
    ask("https://evil.example", false).await.problem(403);
    ask("null", false).await.problem(403);
    ask("http://127.0.0.1:8080", false).await.must(201);
    ask("", false).await.must(201);
    ask("https://evil.example", true).await.must(201); // a program with its own token is nobody's victim
    let cross = Request::post("/api/v1/patients").header("cookie", &cookie).header("sec-fetch-site", "cross-site");
    world.send(cross.body(Body::from(json!({"name": "X"}).to_string())).unwrap()).await.problem(403);
}

#[tokio::test]
async fn the_service_describes_every_route_in_openapi_3_1() {
    let document: Value = serde_json::from_str(&dashboard_api::openapi_json()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["responses"]["default"].is_object(), "{method} {path} names no problem");
            for member in path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()) {
                let named = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == member);
                assert!(named, "{method} {path} does not describe {member}");
            }
        }
    }
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let in_path = path.contains(&format!("{{{name}}}"));
                assert_eq!(parameter["in"] == "path", in_path, "{method} {path}: {parameter}");
            }
            let well = operation["responses"].as_object().unwrap();
            for (status, response) in well {
                let words = response["description"].as_str().unwrap_or_default();
                assert!(!words.is_empty(), "{method} {path} {status} has no description");
            }
            let silent = ["204", "101"].iter().any(|s| well.contains_key(*s)) || !operation["x-no-content"].is_null();
            let told = well.iter().any(|(status, r)| status.starts_with('2') && !r["content"].is_null());
            assert!(told || silent, "{method} {path} does not say what it answers");
        }
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "an operationId stands for two operations");
    let references = document.to_string();
    for name in references.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"][name].is_object(), "schema {name} is missing");
    }
}
