//! Questions over many people: asked of QuestDB as its read-only user while its answer is known to be right, of the
//! embedded series otherwise, with the same figures and the source beside them.

use crate::{
    faults::{Failing, Fault},
    questdb_server::{Server, until},
    story::{Installation, everything},
    truth::{START, plain, reading},
};
use std::sync::{Arc, Mutex};
use store::{Population, PopulationQuery, Provenance, questdb::Config};
use vitals::{Kind, Timestamp, Zone};

async fn asked(at: &Installation) -> Population {
    at.store().population(everything(Kind::BloodPressure, true, &Zone::default())).await.unwrap()
}

/// The same figures, but for the last digits of a sum in another order.
#[track_caller]
fn same(a: &Population, b: &Population) {
    assert_eq!(a.stretches.len(), b.stretches.len());
    for (a, b) in a.stretches.iter().zip(&b.stretches) {
        let counts = |s: &store::Stretch| (s.day, s.patients, s.controlled, s.readings, s.in_target, s.flagged);
        assert_eq!(counts(a), counts(b));
        for (a, b) in [(a.first, b.first), (a.second, b.second)] {
            let (Some(a), Some(b)) = (a, b) else {
                assert_eq!(a, b);
                continue;
            };
            assert!((a.mean - b.mean).abs() < 1e-9 && (a.min, a.max) == (b.min, b.max), "{}", a.mean - b.mean);
        }
    }
}

fn from(source: Provenance) -> (&'static str, Option<&'static str>) {
    (source.series, source.instead)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_where_it_comes_from_and_is_the_same_from_both() {
    let settings = ["pg.readonly.user.enabled=true", "pg.readonly.user=analyst", "pg.readonly.password=a-secret"];
    let Some(mut server) = Server::start(&settings) else { return };
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("analyst");
    std::fs::write(&password, "a-secret\n").unwrap();
    let fault = Arc::new(Mutex::new(None));
    let now = fault.clone();
    let front = Failing::before(&server.http, move |_| *now.lock().unwrap());
    let config = Config {
        http: front.address.clone(),
        request_seconds: 2,
        reader_username: "analyst".into(),
        reader_password_file: Some(password),
        ..server.config()
    };
    let mut at = Installation::new(Some(config));
    at.send((1..=2_000).map(reading).collect()).await;
    at.settled().await;
    let there = asked(&at).await;
    assert_eq!(from(there.source), ("questdb", None));
    assert!(there.stretches.len() > 5);

    // Away: the embedded series, at once, with the same figures.
    server.kill();
    let here = asked(&at).await;
    assert_eq!(from(here.source), ("embedded", Some("away")));
    same(&here, &there);
    server.restart();
    at.settled().await;
    assert_eq!(from(asked(&at).await.source), ("questdb", None));

    // Behind, in a time that is asked for: not from there. In another time: complete all the same.
    *fault.lock().unwrap() = Some(Fault::LoseAcked);
    at.send((0..5).map(|n| plain(n, 400, START - 300 * 86_400 + i64::try_from(n).unwrap(), 150)).collect()).await;
    until(at.handle(), "nothing arrives", |h| h.failures > 0).await;
    let source = asked(&at).await.source;
    assert!(
        source.series == "embedded" && source.instead.is_some(),
        "a projector in trouble is not believed: {source:?}"
    );
    let long_ago = PopulationQuery {
        from: Timestamp::from_seconds(START - 301 * 86_400),
        ..everything(Kind::BloodPressure, true, &Zone::default())
    };
    let all = at.store().population(long_ago.clone()).await.unwrap();
    assert_eq!((all.source.series, all.stretches[0].readings), ("embedded", 5));
    *fault.lock().unwrap() = None;
    at.settled().await;
    let all = at.store().population(long_ago).await.unwrap();
    assert_eq!((all.source.series, all.stretches[0].readings), ("questdb", 5));

    // The table of the prepared statement is gone and there is another one.
    at.handle().rebuild().await.unwrap();
    at.settled().await;
    let again = asked(&at).await;
    assert_eq!(from(again.source), ("questdb", None));
    same(&again, &there);
    at.end().await;
}
