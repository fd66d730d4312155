//! The caller goes away before the answer: what it began is ended and written down, also when the service ends then.

use crate::common::{self, World};
use axum::{body::Body, http::Request};
use dashboard_api::{Config, Links};
use runtime::Drain;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tower::ServiceExt;

/// A clear answer to every team, after half a second.
fn slow_links() -> Links {
    let mut links = common::links();
    links.check_team = Arc::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(Vec::new())
        })
    });
    links
}

async fn audited(world: &World, action: &str) -> Vec<Value> {
    let rows = world.get("/api/v1/audit?limit=200", &world.admin).await.must(200).json();
    rows["items"].as_array().unwrap().iter().filter(|r| r["action"] == action && r["result"] == "ok").cloned().collect()
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_is_made_and_written_down() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let path = format!("/api/v1/patients/{}", ids["patient-record"]);
    for name in ["One", "Two", "Three"] {
        let request = Request::patch(&path)
            .header("authorization", format!("Bearer {}", world.admin))
            .body(Body::from(json!({"name": name}).to_string()))
            .unwrap();
        let mut answer = Box::pin(world.router.clone().oneshot(request));
        let early = tokio::time::timeout(Duration::ZERO, &mut answer).await;
        assert!(early.is_err(), "nobody has gone away");
        drop(answer);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..100 {
        if audited(&world, "patient.update").await.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(audited(&world, "patient.update").await.len(), 3, "a change that is not in the audit");
    assert_eq!(world.get(&path, &world.admin).await.json()["name"], "Three");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_a_change_whose_caller_went_away() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let (end, root) = Drain::new();
    let config = Config { address: "127.0.0.1:0".into(), ..Config::default() };
    let handle = dashboard_api::start(config, world.store.clone(), slow_links(), &root).await.unwrap();
    let before = audited(&world, "team.create").await.len();
    let body = json!({"name": "Gone", "organisationId": ids["station"], "members": []}).to_string();
    let mut socket = TcpStream::connect(handle.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/teams HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        world.admin,
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(socket);
    tokio::time::sleep(Duration::from_millis(100)).await;
    end.stop();
    drop(root);
    assert!(end.drained(Duration::from_secs(5)).await.is_empty(), "the change held up the end");
    assert!(world.store.directory().teams().iter().any(|t| t.name == "Gone"), "it was dropped half way");
    assert_eq!(audited(&world, "team.create").await.len(), before + 1);
}

#[tokio::test]
async fn a_mistake_in_a_change_is_answered_like_any_other() {
    let mut world = World::new().await;
    let ids = world.district("1").await;
    let mut links = common::links();
    links.check_team = Arc::new(|_| panic!("a mistake of the test"));
    world.serve_with(links).await;
    let team = json!({"name": "T", "organisationId": ids["station"], "members": []});
    world.post("/api/v1/teams", team, &world.admin).await.problem(500);
}
