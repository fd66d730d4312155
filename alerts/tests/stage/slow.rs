//! A provider that does not answer holds up nobody but whom it was to tell.

use crate::{open, sink::NEVER};
use std::time::Duration;
use vitals::Severity;

#[tokio::test]
async fn while_one_page_hangs_the_others_are_tried_again_in_time() {
    let (_folder, sink, mut d) = open("02T09:05").await;
    let begun = d.store.clock().now();
    sink.answers(|_| 503);
    d.raise(Severity::Critical, 1).await;
    let alert = d.alert().await.id;
    let attempts = async |address: &str| {
        let rows = d.store.deliveries_of(alert).await.unwrap();
        rows.iter().find(|r| r.address == address).unwrap().attempts
    };
    assert_eq!((attempts("gp").await, attempts("manager").await), (1, 1));
    sink.answers(|m| if m.json["data"]["recipient"]["address"] == "gp" { NEVER } else { 503 });
    for (second, tried) in [(5, 2), (15, 3), (35, 4)] {
        d.store.clock().move_to(begun.plus(Duration::from_secs(second))).unwrap();
        let again = async {
            while attempts("manager").await < tried {
                tokio::task::yield_now().await;
            }
        };
        let within = Duration::from_secs(5); // a third of what a hanging page may take
        tokio::time::timeout(within, again).await.unwrap_or_else(|_| panic!("not tried again at second {second}"));
    }
    assert_eq!(attempts("gp").await, 1, "that one still waits for its answer");
    d.close().await;
}
