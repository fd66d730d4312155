//! A device's birth message, and the commands that ingest answers with (contract: device protocol, sections 2 and 4).
//!
//! Goes in: the payload of `hello`. Comes out: what of it can be read. A hello is no reading: what cannot be read in it
//! is left out, and nothing is held.
//! Must never: believe it for who speaks.

use serde::Deserialize;
use serde_json::json;
use vitals::{DeviceId, Timestamp, Zone};

/// Longer words are left out.
const LONGEST: usize = 100;

/// What a device says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// As it says.
    pub model: Option<String>,
    /// As it says.
    pub firmware: Option<String>,
    /// Percent, 0..=100.
    pub battery: Option<u8>,
    /// The highest number that it has counted.
    pub last_seq: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Sent<'a> {
    #[serde(borrow)]
    model: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    firmware: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    battery: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    last_seq: Option<&'a serde_json::value::RawValue>,
}

/// Reads a hello, leniently.
pub fn decode(payload: &[u8]) -> Hello {
    let sent: Sent<'_> = serde_json::from_slice(payload).unwrap_or_default();
    let word = |raw: Option<&serde_json::value::RawValue>| {
        raw.and_then(|r| serde_json::from_str::<String>(r.get()).ok()).filter(|t| t.chars().count() <= LONGEST)
    };
    Hello {
        model: word(sent.model),
        firmware: word(sent.firmware),
        battery: sent
            .battery
            .and_then(|r| r.get().parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .and_then(|percent| (0..=100_u8).rev().find(|n| f64::from(*n) <= percent)),
        last_seq: sent.last_seq.and_then(|r| r.get().parse().ok()).filter(|seq| *seq >= 0),
    }
}

/// The command that tells a device the time.
pub fn time_command(id: &str, now: Timestamp, expires_at: Timestamp, zone: &Zone) -> String {
    json!({
        "v": 1, "id": id, "type": "time", "now": now.to_rfc3339(zone), "expiresAt": expires_at.to_rfc3339(zone),
    })
    .to_string()
}

/// The command that asks for numbers that never came, both ends included. A gateway is told of which `device`.
pub fn resend_command(
    id: &str,
    device: Option<&DeviceId>,
    (from, to): (i64, i64),
    expires_at: Timestamp,
    zone: &Zone,
) -> String {
    let mut body = json!({
        "v": 1, "id": id, "type": "resend", "from": from, "to": to, "expiresAt": expires_at.to_rfc3339(zone),
    });
    if let Some(device) = device {
        body["device"] = json!(device.as_str());
    }
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_read_and_the_rest_left_out() {
        let all = br#"{"model":"BM-85","firmware":"1.2","battery":79.6,"lastSeq":4712,"clock":{},"x":[1]}"#;
        let expected = Hello {
            model: Some("BM-85".into()),
            firmware: Some("1.2".into()),
            battery: Some(79),
            last_seq: Some(4712),
        };
        assert_eq!(decode(all), expected);
        for odd in [
            &b"anything"[..],
            b"",
            b"[]",
            br#"{"model":7,"battery":101,"lastSeq":-1}"#,
            b"\xff\xfe",
            br#"{"battery":"low"}"#,
        ] {
            assert_eq!(decode(odd), Hello::default(), "{odd:?}");
        }
    }
}
