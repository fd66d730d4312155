//! A whole small run against a broker of a few lines.

use super::*;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

/// Acknowledges everything; every connection dies after `patience` publishes, one of which stays unacknowledged.
fn broker(patience: usize) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string().parse().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut seen = 0;
                loop {
                    let mut head = [0; 2];
                    stream.read_exact(&mut head)?;
                    let mut length = usize::from(head[1] & 0x7f);
                    if head[1] & 0x80 != 0 {
                        let mut more = [0; 1];
                        stream.read_exact(&mut more)?;
                        length += usize::from(more[0]) << 7;
                    }
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body)?;
                    match head[0] >> 4 {
                        1 => stream.write_all(&[0x20, 2, 0, 0])?,
                        3 => {
                            seen += 1;
                            if seen > patience {
                                return Ok(());
                            }
                            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                            stream.write_all(&[0x40, 2, body[2 + topic], body[3 + topic]])?;
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    target
}

fn scenario(extra: &str) -> Scenario {
    let text =
        "name = 'small'\ndevices = 20\n[connect]\nrate = 1000\n[[phase]]\nname = 'hold'\nseconds = 1\nrate = 400\n";
    Scenario::parse(&format!("{text}{extra}")).unwrap()
}

fn go(scenario: &Scenario, target: Target, ack_log: Option<PathBuf>) -> Report {
    let plan = Plan::new(scenario, 3);
    let devices = crate::credentials::anonymous(20);
    let run = Run { target, devices, version: Version::V4, threads: 2, first_seq: 1, ack_log };
    super::run(scenario, &plan, &run, |_| ()).unwrap()
}

#[test]
fn everything_planned_is_acknowledged_once_through_cuts_and_losses() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("acks");
    let scenario = scenario("[message]\nreadings = 2\n[faults]\ndisconnect_share = 0.02\n");
    let report = go(&scenario, broker(7), Some(log.clone()));
    assert_eq!((report.planned, report.acked, report.lost), (400, 400, 0));
    assert!(report.lost_connections > 0 && report.resent > 0, "{report}");
    let text = std::fs::read_to_string(log).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 400);
    lines.dedup();
    assert_eq!(lines.len(), 400, "one PUBACK is counted once");
    assert!(lines.contains(&"load-00001,1"));
}

#[test]
fn limits_decide() {
    let report = go(&scenario("[thresholds]\nmin_rate = 100000\n"), broker(10_000), None);
    assert!(!report.passed);
    assert!(report.to_string().contains("MISS readings acknowledged a second"), "{report}");
    assert!(page::page(&report).contains("missed"));
    let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert!(compare::compare(&report, &again).contains("+0.0 %"));
}

#[test]
fn too_few_devices_are_said_so() {
    let scenario = scenario("");
    let plan = Plan::new(&scenario, 3);
    let devices = crate::credentials::anonymous(3);
    let target = "127.0.0.1:1".parse().unwrap();
    let run = Run { target, devices, version: Version::V4, threads: 1, first_seq: 1, ack_log: None };
    let why = super::run(&scenario, &plan, &run, |_| ()).unwrap_err().to_string();
    assert!(why.contains("20") && why.contains('3'), "{why}");
}
