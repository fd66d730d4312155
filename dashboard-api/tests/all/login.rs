//! Logging in: nobody learns who exists, ten wrong passwords lock one name, sessions end by the service's clock.

use crate::common::{Answer, PASSWORD, World};
use serde_json::json;
use std::time::Duration;
use tower::ServiceExt;

async fn attempt(world: &World, username: &str, password: &str) -> Answer {
    world.post("/api/v1/session", json!({"username": username, "password": password}), "").await
}

#[tokio::test]
async fn a_login_gives_a_token_a_cookie_and_nothing_to_a_cache() {
    let world = World::new().await;
    world.district("1").await;
    let answer = attempt(&world, "gp-1", PASSWORD).await.must(201);
    let cookie = answer.header("set-cookie");
    for part in ["hb_session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["user"]["username"], "gp-1");
    assert!(body["token"].as_str().unwrap().len() >= 43 && body["expiresAt"].is_string());
    let token = body["token"].as_str().unwrap();
    assert_eq!(world.get("/api/v1/session", token).await.must(200).json()["user"]["roles"], json!(["gp"]));
    world.call("DELETE", "/api/v1/session", serde_json::Value::Null, token, &[]).await.must(204);
    world.get("/api/v1/session", token).await.problem(401);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let world = World::new().await;
    world.district("1").await;
    let mut wrong = attempt(&world, "gp-1", "wrong").await.problem(401);
    let mut nobody = attempt(&world, "no-such-user", "wrong").await.problem(401);
    wrong["traceId"].take();
    nobody["traceId"].take();
    assert_eq!(wrong, nobody);
}

#[tokio::test]
async fn ten_failures_lock_one_name_for_a_while_and_a_restart_does_not_forget() {
    let world = World::new().await;
    world.district("1").await;
    for _ in 0..10 {
        attempt(&world, "gp-1", "wrong").await.problem(401);
    }
    let locked = attempt(&world, "gp-1", PASSWORD).await.must(429);
    assert_eq!(locked.header("retry-after"), "900");
    locked.problem(429);
    attempt(&world, "specialist-1", PASSWORD).await.must(201);
    let body = json!({"username": "gp-1", "password": PASSWORD}).to_string();
    let request = axum::http::Request::post("/api/v1/session").body(axum::body::Body::from(body)).unwrap();
    assert_eq!(world.restarted().await.oneshot(request).await.unwrap().status(), 429);
    world.later(Duration::from_secs(15 * 60));
    attempt(&world, "gp-1", PASSWORD).await.must(201);
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_after_twelve_hours_in_any_case() {
    let world = World::new().await;
    world.district("1").await;
    let token = world.login("gp-1", PASSWORD).await;
    world.later(Duration::from_secs(29 * 60));
    world.get("/api/v1/session", &token).await.must(200);
    world.later(Duration::from_secs(29 * 60));
    world.get("/api/v1/session", &token).await.must(200);
    world.later(Duration::from_secs(31 * 60));
    world.get("/api/v1/session", &token).await.problem(401);
    let token = world.login("gp-1", PASSWORD).await;
    for _ in 0..24 {
        world.get("/api/v1/session", &token).await.must(200);
        world.later(Duration::from_secs(29 * 60));
    }
    world.later(Duration::from_secs(25 * 60));
    world.get("/api/v1/session", &token).await.problem(401);
}

#[tokio::test]
async fn who_is_disabled_is_out_at_once() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let token = world.login("gp-1", PASSWORD).await;
    let path = format!("/api/v1/users/{}", ids["gp"]);
    let etag = world.get(&path, &world.admin).await.header("etag").to_owned();
    world.call("PATCH", &path, json!({"disabled": true}), &world.admin, &[("if-match", &etag)]).await.must(200);
    world.get("/api/v1/session", &token).await.problem(401);
    attempt(&world, "gp-1", PASSWORD).await.problem(401);
}

#[tokio::test]
async fn a_password_that_was_made_is_shown_once_and_can_be_changed() {
    let world = World::new().await;
    let made = json!({"username": "new-1", "name": "New", "roles": ["ops"]});
    let answer = world.post("/api/v1/users", made, &world.admin).await.must(201).json();
    let password = answer["password"].as_str().unwrap().to_owned();
    assert_eq!(answer["mustChangePassword"], true);
    let token = world.login("new-1", &password).await;
    let other = world.login("new-1", &password).await;
    let change = |current: &str| json!({"current": current, "new": "a better password"});
    world.post("/api/v1/session/password", change("wrong one"), &token).await.problem(403);
    world.post("/api/v1/session/password", change(&password), &token).await.must(204);
    world.get("/api/v1/session", &token).await.must(200);
    world.get("/api/v1/session", &other).await.problem(401);
    attempt(&world, "new-1", &password).await.problem(401);
    world.login("new-1", "a better password").await;
}
