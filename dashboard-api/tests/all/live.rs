//! The live stream and the orderly end, over a real socket.

use crate::common;
use crate::common::{PASSWORD, World, pressure};
use dashboard_api::Config;
use runtime::Drain;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vitals::Unit;

/// Reads until `text` has come, or the other side closes.
async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0_u8; 4096];
    let reading = async {
        loop {
            let n = socket.read(&mut buffer).await.unwrap();
            all.extend_from_slice(&buffer[..n]);
            let seen = String::from_utf8_lossy(&all).into_owned();
            if n == 0 || (!text.is_empty() && seen.contains(text)) {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("nothing came for 10 s")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_what_is_the_callers_resumes_and_does_not_hold_up_the_end() {
    let world = World::new().await;
    let (one, two) = (world.district("1").await, world.district("2").await);
    let gp = world.login("gp-1", PASSWORD).await;
    let (end, root) = Drain::new();
    let config = Config { address: "127.0.0.1:0".into(), ..Config::default() };
    let handle = dashboard_api::start(config, world.store.clone(), common::links(), &root).await.unwrap();
    let address = handle.address();
    let open = |more: String, until: &'static str| {
        let gp = gp.clone();
        async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let request = format!("GET /api/v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gp}\r\n{more}\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let head = read_until(&mut socket, until).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            (socket, head)
        }
    };
    let (mut first, _) = open(String::new(), "text/event-stream").await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "ok").await;
    world.keep("d-2", Some(&two["patient-record"]), 1, pressure("150", "90"), Unit::MmHg).await;
    let id = world.keep("d-1", Some(&one["patient-record"]), 1, pressure("141", "91"), Unit::MmHg).await;
    let seen = read_until(&mut first, &id.to_string()).await;
    assert!(seen.contains("event: reading") && seen.contains(&one["patient-record"]), "{seen}");
    assert!(!seen.contains(&two["patient-record"]) && !seen.contains("141"), "another's id, or a value: {seen}");
    let event_id = seen.lines().find_map(|l| l.strip_prefix("id: ")).unwrap().to_owned();
    let next = world.keep("d-1", Some(&one["patient-record"]), 2, pressure("142", "92"), Unit::MmHg).await;
    read_until(&mut first, &next.to_string()).await;
    let (again, resumed) = open(format!("last-event-id: {event_id}\r\n"), "event: reading").await;
    assert!(resumed.contains(&next.to_string()) && !resumed.contains(&id.to_string()), "not resumed: {resumed}");
    let (lost, _) = open("last-event-id: elsewhere-7\r\n".into(), "event: resync").await;
    end.stop();
    drop(root);
    assert!(end.drained(Duration::from_secs(4)).await.is_empty(), "the streams or an idle connection held up the end");
    for mut socket in [first, again, lost, idle] {
        read_until(&mut socket, "").await; // closed by the service
    }
}
