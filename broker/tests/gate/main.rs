//! Stories of the gate, told by clients that speak raw bytes to a started one.

// Helpers of tests may panic as tests may; clippy knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::panic)]

mod client;
mod conformance;
mod conformance5;
mod defects;
mod doors;
mod down;
mod entry;
mod load;
mod named;
mod sessions;
mod uplink;
mod world;

use client::{Client, puback, publish, readings};
use world::World;

/// Runs `story` while a well-behaved neighbour is connected, and shows that it, and a newcomer, are served afterwards.
async fn undisturbed(world: &World, story: impl AsyncFnOnce()) {
    world.device("neighbour").await;
    let mut neighbour = Client::enter(world, "neighbour").await;
    story().await;
    let message = publish(4, &readings("neighbour"), 9, b"still here");
    assert_eq!(neighbour.ask(&message).await, puback(9), "the neighbour is not served any more");
    drop(neighbour);
    Client::enter(world, "neighbour").await.ping().await;
    assert!(world.gate.router_alive(), "the router suffered");
}
