//! What became of each reading of a message (contract: device protocol, section 4).
//!
//! Goes in: outcomes in the order sent. Comes out: the JSON of the receipts topic.
//! Must never: carry a name or a clinical verdict.

use bytes::Bytes;
use std::fmt::Write;
use vitals::{DeviceId, Disposition, ReadingId, Timestamp, Zone};

/// The answer to one message.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// As the sender gave it.
    pub message_id: Option<Box<str>>,
    /// When the message was taken.
    pub server_time: Timestamp,
    /// One for each reading, in the order sent.
    pub results: Vec<Outcome>,
    /// Highest S such that every number of this epoch up to S was answered; none while the device has no numbers.
    pub stored_through: Option<i64>,
}

/// What became of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its number; none where there was none.
    pub seq: Option<i64>,
    /// For whom a gateway spoke.
    pub device: Option<DeviceId>,
    /// The verdict.
    pub verdict: Verdict,
    /// The id of what is stored, or was already.
    pub id: Option<ReadingId>,
    /// Words of the contract: why it is held or flagged.
    pub reasons: Vec<Box<str>>,
}

/// One word of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kept.
    Kept(Disposition),
    /// Known already, nothing changed.
    Duplicate,
    /// Held back.
    Quarantined,
}

impl Verdict {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept(disposition) => disposition.as_str(),
            Self::Duplicate => "duplicate",
            Self::Quarantined => "quarantined",
        }
    }
}

impl Receipt {
    /// The JSON, with `serverTime` in `zone`.
    pub fn to_json(&self, zone: &Zone) -> Bytes {
        let mut out = String::with_capacity(96 + 72 * self.results.len());
        out.push('{');
        if let Some(id) = &self.message_id {
            let _ = write!(out, "\"msgId\":{},", quoted(id));
        }
        let _ = write!(out, "\"serverTime\":\"{}\",\"results\":[", self.server_time.to_rfc3339(zone));
        for (i, outcome) in self.results.iter().enumerate() {
            out.push_str(if i > 0 { ",{" } else { "{" });
            outcome.write(&mut out);
        }
        match self.stored_through {
            Some(seq) => _ = write!(out, "],\"storedThrough\":{seq}}}"),
            None => out.push_str("],\"storedThrough\":null}"),
        }
        Bytes::from(out)
    }
}

impl Outcome {
    fn write(&self, out: &mut String) {
        if let Some(seq) = self.seq {
            let _ = write!(out, "\"seq\":{seq},");
        }
        if let Some(device) = &self.device {
            let _ = write!(out, "\"device\":\"{device}\",");
        }
        let _ = write!(out, "\"result\":\"{}\"", self.verdict.as_str());
        if let Some(id) = self.id {
            let _ = write!(out, ",\"id\":\"{id}\"");
        }
        if !self.reasons.is_empty() {
            out.push_str(",\"reasons\":[");
            for (i, reason) in self.reasons.iter().enumerate() {
                let _ = write!(out, "{}{}", if i > 0 { "," } else { "" }, quoted(reason));
            }
            out.push(']');
        }
        out.push('}');
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_contract_shows_it() {
        let receipt = Receipt {
            message_id: Some("0193f6a2-\"x".into()),
            server_time: Timestamp::parse_rfc3339("2026-03-01T07:12:03.123+08:00").unwrap(),
            results: vec![
                Outcome {
                    seq: Some(4711),
                    device: None,
                    verdict: Verdict::Kept(Disposition::Stored),
                    id: Some(ReadingId::new(1)),
                    reasons: vec![],
                },
                Outcome {
                    seq: Some(4712),
                    device: Some("d-1".parse().unwrap()),
                    verdict: Verdict::Quarantined,
                    id: None,
                    reasons: vec!["implausible".into()],
                },
            ],
            stored_through: Some(4712),
        };
        assert_eq!(
            receipt.to_json(&Zone::default()),
            concat!(
                r#"{"msgId":"0193f6a2-\"x","serverTime":"2026-03-01T07:12:03.123+08:00","#,
                r#""results":[{"seq":4711,"result":"stored","id":"r_0000000000001"},"#,
                r#"{"seq":4712,"device":"d-1","result":"quarantined","reasons":["implausible"]}],"storedThrough":4712}"#
            )
        );
    }
}
