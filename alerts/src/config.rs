//! `[alerts]` of the configuration: durations, opening hours, the default chain, channels.
//!
//! The defaults are the contract's. Must never: show a secret in `Debug`.

use jiff::civil::Time;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// Everything that may be set. Durations are whole numbers in the unit of their name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A critical: from one step of the chain to the next.
    pub critical_step_minutes: u32,
    /// A critical: from one call of the last step to the next, for ever.
    pub critical_repeat_minutes: u32,
    /// A critical: from the acknowledgement to the logged contact, or it re-opens.
    pub contact_minutes: u32,
    /// An urgent: opening minutes until the station's on-call is told.
    pub urgent_step_opening_minutes: u32,
    /// An urgent: from the acknowledgement to the plan, or it re-opens.
    pub urgent_plan_hours: u32,
    /// A routine: working days until it counts as overdue.
    pub routine_working_days: u32,
    /// Consecutive unflagged readings in range that resolve an urgent or routine.
    pub readings_in_range: u32,
    /// How long an acknowledge link may be used.
    pub link_hours: u32,
    /// From here only criticals leave the queue, `22:00`.
    pub quiet_from: String,
    /// Until here, `07:00`.
    pub quiet_to: String,
    /// Stations open, `08:00`.
    pub opens: String,
    /// Stations close, `17:30`.
    pub closes: String,
    /// Days on which stations open, `mon` … `sun`.
    pub working_days: Vec<String>,
    /// The chain of a team that has none.
    pub chain: Vec<Vec<String>>,
    /// Wait after the first failed attempt; it doubles with each.
    pub retry_first_seconds: u32,
    /// The longest wait between attempts.
    pub retry_longest_seconds: u32,
    /// Real seconds that a webhook may take to answer.
    pub send_timeout_seconds: u32,
    /// After this an undelivered critical page is not sent any more.
    pub critical_expiry_minutes: u32,
    /// The same for everything else.
    pub other_expiry_hours: u32,
    /// Channels by the name that contacts use.
    pub channels: BTreeMap<String, Channel>,
}

impl Default for Config {
    fn default() -> Self {
        let step = |who: &[&str]| who.iter().map(|w| (*w).to_owned()).collect();
        Self {
            critical_step_minutes: 10,
            critical_repeat_minutes: 15,
            contact_minutes: 60,
            urgent_step_opening_minutes: 240,
            urgent_plan_hours: 48,
            routine_working_days: 3,
            readings_in_range: 3,
            link_hours: 72,
            quiet_from: "22:00".into(),
            quiet_to: "07:00".into(),
            opens: "08:00".into(),
            closes: "17:30".into(),
            working_days: step(&["mon", "tue", "wed", "thu", "fri"]),
            chain: vec![
                step(&["team:gp", "team:health_manager"]),
                step(&["station:duty"]),
                step(&["team:specialist", "station:head"]),
                step(&["region:duty"]),
            ],
            retry_first_seconds: 5,
            retry_longest_seconds: 600,
            send_timeout_seconds: 15,
            critical_expiry_minutes: 60,
            other_expiry_hours: 24,
            channels: BTreeMap::from([("log".into(), Channel::default())]),
        }
    }
}

/// How messages of one name leave the house.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// What it is.
    pub kind: Kind,
    /// `webhook`: where to POST.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `webhook`: `whsec_` and base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// `webhook`: a file that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// `full`: the patient's name, phone and the evidence are in the message. Only towards systems that may know them.
    #[serde(default)]
    pub detail: Detail,
}

/// What a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line in the service's log.
    #[default]
    Log,
    /// A signed POST (Standard Webhooks).
    Webhook,
}

/// How much a message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// No name, no measured value.
    #[default]
    Thin,
    /// With both.
    Full,
}

/// A secret's text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Minutes as a duration.
pub(crate) fn minutes(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 60)
}

/// `08:00` as a time of day.
pub(crate) fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits =
        |t: &str| (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<i8>().ok()).flatten();
    Time::new(digits(hour)?, digits(minute)?, 0, 0).ok()
}

/// The words of the week, from Monday.
pub(crate) const WEEK: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The words of a chain.
pub(crate) fn is_word_of_chain(word: &str) -> bool {
    matches!(
        word,
        "team:gp"
            | "team:specialist"
            | "team:health_manager"
            | "team:assistant"
            | "station:duty"
            | "station:head"
            | "region:duty"
    )
}

impl Config {
    /// Every fault, each naming the key and the remedy. Empty: the stage can start.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let positive = [
            ("critical_step_minutes", self.critical_step_minutes),
            ("critical_repeat_minutes", self.critical_repeat_minutes),
            ("contact_minutes", self.contact_minutes),
            ("urgent_step_opening_minutes", self.urgent_step_opening_minutes),
            ("urgent_plan_hours", self.urgent_plan_hours),
            ("routine_working_days", self.routine_working_days),
            ("readings_in_range", self.readings_in_range),
            ("link_hours", self.link_hours),
            ("retry_first_seconds", self.retry_first_seconds),
            ("retry_longest_seconds", self.retry_longest_seconds),
            ("send_timeout_seconds", self.send_timeout_seconds),
            ("critical_expiry_minutes", self.critical_expiry_minutes),
            ("other_expiry_hours", self.other_expiry_hours),
        ];
        faults.extend(positive.iter().filter(|(_, n)| *n == 0).map(|(key, _)| format!("{key}: write at least 1")));
        let times = [
            ("quiet_from", &self.quiet_from),
            ("quiet_to", &self.quiet_to),
            ("opens", &self.opens),
            ("closes", &self.closes),
        ];
        faults.extend(
            times.iter().filter(|(_, t)| time_of_day(t).is_none()).map(|(key, _)| format!("{key}: write HH:MM")),
        );
        if let (Some(opens), Some(closes)) = (time_of_day(&self.opens), time_of_day(&self.closes))
            && opens >= closes
        {
            faults.push("closes: must be later than opens".into());
        }
        if self.working_days.is_empty() || self.working_days.iter().any(|d| !WEEK.contains(&d.as_str())) {
            faults.push(format!("working_days: a list of {}", WEEK.join(", ")));
        }
        if self.chain.is_empty() || self.chain.iter().any(Vec::is_empty) {
            faults.push("chain: every step names somebody".into());
        }
        for word in self.chain.iter().flatten().filter(|w| !is_word_of_chain(w)) {
            faults.push(format!("chain: {word:?} is not team:ROLE, station:duty, station:head or region:duty"));
        }
        for (name, channel) in &self.channels {
            faults.extend(channel.check().into_iter().map(|f| format!("channels.{name}.{f}")));
        }
        faults
    }
}

impl Channel {
    fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.kind == Kind::Webhook {
            if reqwest::Url::parse(&self.url).is_ok_and(|u| matches!(u.scheme(), "http" | "https")) {
                // usable
            } else {
                faults.push("url: an http or https address".into());
            }
            if let Err(e) = self.key() {
                faults.push(e);
            }
        }
        faults
    }

    /// The signing key's bytes, from `secret` or `secret_file`.
    ///
    /// # Errors
    /// The fault, naming the key and the remedy; never the secret.
    pub(crate) fn key(&self) -> Result<Vec<u8>, String> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let text = match (&self.secret, &self.secret_file) {
            (Some(secret), None) => secret.0.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|e| format!("secret_file: {e}"))?,
            (Some(_), Some(_)) => return Err("secret: either secret or secret_file, not both".into()),
            (None, None) => return Err("secret: whsec_ and base64, or secret_file".into()),
        };
        let key = text.trim().strip_prefix("whsec_").and_then(|t| STANDARD.decode(t).ok());
        key.filter(|k| k.len() >= 16).ok_or_else(|| "secret: whsec_ and base64 of at least 16 bytes".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_order_and_every_fault_is_named() {
        assert_eq!(Config::default().check(), Vec::<String>::new());
        let webhook = Channel { kind: Kind::Webhook, url: "nowhere".into(), ..Channel::default() };
        let bad = Config {
            contact_minutes: 0,
            opens: "8".into(),
            chain: vec![vec!["team:boss".into()]],
            channels: BTreeMap::from([("sink".into(), webhook)]),
            ..Config::default()
        };
        let faults = bad.check().join("\n");
        for word in ["contact_minutes", "opens", "team:boss", "channels.sink.url", "channels.sink.secret"] {
            assert!(faults.contains(word), "{faults}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let channel = Channel { secret: Some(Secret("whsec_very".into())), ..Channel::default() };
        assert!(!format!("{channel:?}").contains("very"));
    }
}
