//! A clock that was ahead and was put right: nothing waits for the moment that was wrong.

use crate::{
    district::{at, config, start},
    open,
};
use runtime::Paced;
use std::time::Duration;
use vitals::Severity;

#[tokio::test]
async fn a_critical_that_was_raised_under_a_clock_a_day_ahead_climbs_by_the_right_one() {
    let (folder, sink, mut d) = open("03T09:05").await;
    sink.answers(|m| if m.json["data"]["recipient"]["address"] == "gp" { 503 } else { 200 });
    d.raise(Severity::Critical, 1).await;
    assert_eq!(sink.pages(), ["gp 1", "manager 1"]);
    d.close().await;
    sink.answers(|_| 200);
    let (store, alerts, drain) = start(folder.path(), at("02T09:06"), config(&sink)).await;
    alerts.settle().await;
    assert_eq!(sink.pages(), ["gp 1"], "what had failed is tried again");
    let to = at("02T09:21");
    while let Some(next) = alerts.next_due().await.filter(|next| *next <= to) {
        store.clock().move_to(next).unwrap();
        alerts.settle().await;
    }
    assert_eq!(sink.pages(), ["duty 2"]);
    drain.stop();
    drop((store, alerts));
    drain.drained(Duration::from_secs(8)).await;
}
