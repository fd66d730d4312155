//! The writer thread by its promises: what it says was done is in the file, what it says failed is not.

use super::*;
use std::time::Duration;

async fn sites(registry: &Registry) -> Vec<String> {
    let list = |c: &Connection| -> Result<Vec<String>, StoreError> {
        let mut statement = c.prepare("SELECT key FROM site ORDER BY key")?;
        let rows = statement.query_map([], |r| r.get(0))?;
        rows.map(|r| Ok(r?)).collect()
    };
    registry.read(list).await.unwrap()
}

/// SQLite takes the whole transaction back when a statement finds no room, not only the statement.
#[tokio::test]
async fn a_write_that_finds_no_room_takes_its_neighbours_back_and_the_next_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut handle, drain) = Drain::new();
    let registry = Registry::open(&folder.path().join("registry.db"), &drain).unwrap();
    let (open_gate, gate) = mpsc::channel::<()>();
    let held = registry.clone();
    let held = tokio::spawn(async move {
        held.alone(move |c| {
            let pages: i64 = c.query_row("PRAGMA page_count", [], |r| r.get(0))?;
            c.query_row(&format!("PRAGMA max_page_count={}", pages + 1), [], |_| Ok(()))?;
            gate.recv().map_err(|_| StoreError::Closed)
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let put = |key: &'static str, size: usize| {
        registry.write_then(
            move |c| {
                let sql = "INSERT INTO site(key, value) VALUES(?1, ?2)";
                Ok(c.execute(sql, [key, &"x".repeat(size)]).map(drop)?)
            },
            |()| {},
        )
    };
    let opens = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        open_gate.send(()).unwrap();
    };
    let (before, large, after, ()) = tokio::join!(put("before", 1), put("large", 50_000), put("after", 1), opens);
    held.await.unwrap().unwrap();
    assert!(matches!(large, Err(StoreError::DiskFull(_))), "{large:?}");
    assert!(matches!(before, Err(StoreError::DiskFull(_))), "{before:?}");
    after.unwrap();
    assert_eq!(sites(&registry).await, ["after"]);
    put("later", 1).await.unwrap();
    let fatal = tokio::time::timeout(Duration::from_millis(10), handle.fatal()).await;
    assert!(fatal.is_err(), "the process goes on");
}
