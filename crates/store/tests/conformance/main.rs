//! One suite of time-series questions for every engine: after each thing that can happen to readings the embedded series
//! and a real QuestDB answer alike, and as a plain list of the readings does. The same with a QuestDB that fails on
//! purpose, again and again, in every way that was seen; and with an embedded file on a place that is full.
//!
//! What must hold: nothing is lost, nothing doubled, nothing under a former owner, nothing called checked that cannot be
//! seen, and everything goes on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, which is its purpose
#![allow(missing_docs, unreachable_pub)]

mod analysts;
mod engine;
mod faults;
mod full_disk;
mod mishaps;
#[path = "../questdb_server/mod.rs"]
mod questdb_server;
mod story;
mod truth;

use engine::Engine;
use faults::{Failing, Fault};
use questdb_server::Server;
use story::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_series() {
    let mut installation = Installation::new(None);
    story::tell(&mut installation, &Engine::Embedded).await;
    installation.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_questdb() {
    let Some(server) = Server::start(&[]) else { return };
    let mut installation = Installation::new(Some(server.config()));
    story::tell(&mut installation, &Engine::QuestDb(server)).await;
    installation.end().await;
}

/// Two of three requests are answered; every third meets the next fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_questdb_that_fails_on_purpose() {
    let Some(server) = Server::start(&[]) else { return };
    let plan =
        [Fault::Status(500), Fault::LoseAcked, Fault::DropStored, Fault::Status(503), Fault::DropUnstored, Fault::Hang];
    let front = Failing::before(&server.http, move |r| (r.number % 3 == 1).then(|| plan[r.number / 3 % plan.len()]));
    let config = store::questdb::Config {
        http: front.address.clone(),
        request_seconds: 2,
        // Small transactions: more requests that can fail.
        batch: 200,
        catch_up_batch: 200,
        ..server.config()
    };
    let mut installation = Installation::new(Some(config));
    story::tell(&mut installation, &Engine::QuestDb(server)).await;
    assert!(front.faults() >= plan.len(), "every fault was met: {}", front.faults());
    installation.end().await;
}
