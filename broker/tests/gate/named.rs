//! What `docs/mqtt-conformance.md` says of tests and of the contract is so.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// The upstream tests of both files, as they are called there.
const UPSTREAM: [(&str, &str); 2] = [
    (
        "## 3.1.1",
        "testBasic test_retained_messages will_message_test test_zero_length_clientid test_offline_message_queueing \
         test_overlapping_subscriptions test_keepalive test_redelivery_on_reconnect test_subscribe_failure \
         test_dollar_topics test_unsubscribe",
    ),
    (
        "## 5",
        "test_basic test_retained_message test_will_message test_zero_length_clientid test_offline_message_queueing \
         test_overlapping_subscriptions test_keepalive test_redelivery_on_reconnect test_subscribe_failure \
         test_dollar_topics test_unsubscribe test_session_expiry test_user_properties test_payload_format \
         test_publication_expiry test_subscribe_options test_assigned_clientid test_subscribe_identifiers \
         test_request_response test_client_topic_alias test_server_topic_alias test_maximum_packet_size \
         test_server_keep_alive test_flow_control1 test_flow_control2 test_will_delay test_shared_subscriptions",
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What stands between two of `mark`.
fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

/// Whether this folder has a test of that name.
fn is_a_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::") else { return false };
    let file = root().join("broker/tests/gate").join(module).with_extension("rs");
    fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("#[tokio::test]\nasync fn {function}()")))
}

#[test]
fn every_upstream_test_is_told_or_excluded_by_a_sentence_of_the_contract() {
    let page = fs::read_to_string(root().join("docs/mqtt-conformance.md")).unwrap();
    // The shared material lies beside the project.
    let contract = fs::read_to_string(root().join("../shared/contract/device-protocol.md")).ok();
    if contract.is_none() {
        eprintln!("skipped: whether the quoted sentences stand in the contract, which is not beside the project");
    }
    for (heading, names) in UPSTREAM {
        let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let mut rows = BTreeSet::new();
        for row in section.lines().filter(|line| line.starts_with("| `test") || line.starts_with("| `will")) {
            let [_, upstream, told, excluded, _] = row.split('|').collect::<Vec<_>>()[..] else {
                panic!("not three cells: {row}")
            };
            let name = between(upstream, '`').next().unwrap();
            assert!(rows.insert(name), "{name} has two rows");
            let (tests, quotes): (Vec<_>, Vec<_>) = (between(told, '`').collect(), between(excluded, '"').collect());
            assert!(!tests.is_empty() || !quotes.is_empty(), "{name} is neither told nor excluded");
            for test in tests {
                assert!(is_a_test(test), "{name}: there is no test {test}");
            }
            for quote in quotes {
                assert!(contract.as_ref().is_none_or(|c| c.contains(quote)), "{name}: not in the contract: {quote}");
            }
        }
        assert_eq!(rows, names.split_whitespace().collect(), "rows of {heading}");
    }
}

#[test]
fn every_known_defect_has_its_test() {
    for n in 1..=12 {
        let told = ["defects", "doors"].iter().any(|module| {
            let text = fs::read_to_string(root().join(format!("broker/tests/gate/{module}.rs"))).unwrap();
            text.contains(&format!("#[tokio::test]\nasync fn d{n}_"))
        });
        assert!(told, "D{n}");
    }
}
