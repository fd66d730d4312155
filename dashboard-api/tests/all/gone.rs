//! The caller goes away before the answer: what it began is ended and written down, also when the service ends then.

use crate::common::{self, World};
use axum::{body::Body, http::Request};
use dashboard_api::{Config, Links};
use runtime::Drain;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore};
use tower::ServiceExt;

/// Holds every change of a team half way: tells that one has come so far, and lets it on when the test says so.
#[derive(Clone)]
struct HalfWay {
    come: Arc<Semaphore>,
    on: Arc<Semaphore>,
}

impl HalfWay {
    fn new() -> Self {
        Self { come: Arc::new(Semaphore::new(0)), on: Arc::new(Semaphore::new(0)) }
    }

    fn links(&self) -> Links {
        let mut links = common::links();
        let here = self.clone();
        links.check_team = Arc::new(move |_| {
            let here = here.clone();
            Box::pin(async move {
                here.come.add_permits(1);
                here.on.acquire().await.unwrap().forget();
                Ok(Vec::new())
            })
        });
        links
    }

    /// Returns when a change stands half way.
    async fn has_come(&self) {
        tokio::time::timeout(Duration::from_secs(30), self.come.acquire()).await.unwrap().unwrap().forget();
    }

    fn let_on(&self) {
        self.on.add_permits(1);
    }
}

fn team(name: &str, station: &Value) -> String {
    json!({"name": name, "organisationId": station, "members": []}).to_string()
}

async fn audited(world: &World, action: &str) -> usize {
    let rows = world.get("/api/v1/audit?limit=200", &world.admin).await.must(200).json();
    rows["items"].as_array().unwrap().iter().filter(|r| r["action"] == action && r["result"] == "ok").count()
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_is_made_and_written_down() {
    let mut world = World::new().await;
    let ids = world.district("1").await;
    let half_way = HalfWay::new();
    world.serve_with(half_way.links()).await;
    let before = audited(&world, "team.create").await;
    for (n, name) in ["One", "Two", "Three"].into_iter().enumerate() {
        let request = Request::post("/api/v1/teams")
            .header("authorization", format!("Bearer {}", world.admin))
            .body(Body::from(team(name, &json!(ids["station"]))))
            .unwrap();
        tokio::select! {
            answer = world.router.clone().oneshot(request) => panic!("nobody has gone away: {answer:?}"),
            () = half_way.has_come() => {}
        }
        half_way.let_on();
        let written = async {
            while audited(&world, "team.create").await < before + n + 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("a change that is not in the audit");
        assert!(world.store.directory().teams().iter().any(|t| t.name == name), "{name} was dropped half way");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_a_change_whose_caller_went_away() {
    let world = World::new().await;
    let ids = world.district("1").await;
    let (end, root) = Drain::new();
    let config = Config { address: "127.0.0.1:0".into(), ..Config::default() };
    let half_way = HalfWay::new();
    let handle = dashboard_api::start(config, world.store.clone(), half_way.links(), &root).await.unwrap();
    let before = audited(&world, "team.create").await;
    let body = team("Gone", &json!(ids["station"]));
    let mut socket = TcpStream::connect(handle.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/teams HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        world.admin,
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    half_way.has_come().await;
    drop(socket);
    end.stop();
    drop(root);
    assert!(!end.drained(Duration::from_millis(50)).await.is_empty(), "the end did not wait for the change");
    half_way.let_on();
    assert!(end.drained(Duration::from_secs(30)).await.is_empty(), "the change held up the end");
    assert!(world.store.directory().teams().iter().any(|t| t.name == "Gone"), "it was dropped half way");
    assert_eq!(audited(&world, "team.create").await, before + 1);
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
