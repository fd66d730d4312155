//! Recorded readings sent again as devices, and a reckoning of what became of each.
//!
//! Goes in: recordings, credentials, a broker. Comes out: a table: sent = stored + duplicate + flagged + excluded +
//! quarantined, or a failure. Must never: send a message whose readings it does not count, or count one twice.

pub mod forms;

use crate::{
    Error,
    codec::Version,
    credentials::Credential,
    message::{MOST_READINGS, message},
    meter::{Heard, Meter, Options, Target},
};
use forms::{Recorded, Recording, shifted};
use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How to replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Where to.
    pub target: Target,
    /// Protocol level.
    pub version: Version,
    /// Move every series by whole days so that its last reading lies on the day before this one.
    pub shift_before: Option<Date>,
    /// Recorded time over real time: 3600 replays an hour a second; none is as fast as acknowledged.
    pub speed: Option<f64>,
    /// Readings a message, 1 to 200.
    pub batch: usize,
    /// How long a receipt may follow its PUBACK.
    pub receipt_wait: Duration,
}

/// What became of a device's or a file's readings.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Outcome {
    pub sent: u64,
    pub acked: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub flagged: u64,
    pub excluded: u64,
    pub quarantined: u64,
    /// Acknowledged, but no receipt said what became of them.
    pub unanswered: u64,
    /// Quarantined and flagged readings by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Outcome {
    /// Every reading is accounted for.
    pub const fn balances(&self) -> bool {
        self.sent == self.acked
            && self.sent == self.stored + self.duplicate + self.flagged + self.excluded + self.quarantined
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.flagged += other.flagged;
        self.excluded += other.excluded;
        self.quarantined += other.quarantined;
        self.unanswered += other.unanswered;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    msg_id: Option<String>,
    results: Vec<ReadingResult>,
}

#[derive(Deserialize)]
struct ReadingResult {
    result: String,
    #[serde(default)]
    reasons: Vec<String>,
}

/// Replays a recording, every device at once.
///
/// # Errors
/// [`Error::Input`] naming the devices without a credential; whatever keeps a device from connecting.
pub async fn replay(recording: Recording, devices: &[Credential], how: &Replay) -> Result<Outcome, Error> {
    let known: HashMap<&str, &Credential> = devices.iter().map(|c| (c.id.as_str(), c)).collect();
    let missing: Vec<_> = recording.series.keys().filter(|d| !known.contains_key(d.as_str())).cloned().collect();
    if !missing.is_empty() && !devices.is_empty() {
        return Err(Error::Input(format!(
            "{} of {} devices have no credential, the first is {:?}: provision what --list-devices prints",
            missing.len(),
            recording.series.len(),
            missing[0]
        )));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (device, series) in recording.series {
        let found = known.get(device.as_str()).map(|c| (*c).clone());
        let credential = found.unwrap_or(Credential { id: device, secret: None });
        tasks.spawn(one(credential, series, how.clone()));
    }
    let mut total = Outcome::default();
    while let Some(done) = tasks.join_next().await {
        total.add(&done.map_err(|_| Error::Input("a device's task ended by itself".into()))??);
    }
    Ok(total)
}

/// How many days to move a series so that its last reading lies on the day before `today`.
fn days_to(series: &[Recorded], today: Date) -> i32 {
    let last = series.iter().filter_map(|r| r.time.date()).max();
    let until = |last: Date| last.until(today.yesterday().unwrap_or(today)).ok();
    last.and_then(until).map_or(0, |span| span.get_days())
}

async fn one(credential: Credential, series: Vec<Recorded>, how: Replay) -> Result<Outcome, Error> {
    let days = how.shift_before.map_or(0, |today| days_to(&series, today));
    let id = credential.id.clone();
    let options = Options { version: how.version, receipts: true, ..Options::default() };
    let (meter, heard) = Meter::connect(&how.target, credential, options).await?;
    let receipts = listen(heard);
    let mut outcome = Outcome::default();
    let batch = if how.speed.is_some() { 1 } else { how.batch.clamp(1, MOST_READINGS) };
    let start = Instant::now();
    let mut acks = Vec::new();
    let mut sent = HashMap::new();
    for (number, part) in (0..).zip(series.chunks(batch)) {
        if let Some(speed) = how.speed {
            tokio::time::sleep_until(start + since_first(&series, part, speed)).await;
        }
        let readings: Vec<_> = part.iter().map(|r| shifted(r, days)).collect();
        let count = u64::try_from(readings.len()).unwrap_or(0);
        let msg_id = format!("replay-{number}");
        outcome.sent += count;
        let gone = |_| Error::Broken { device: id.clone(), what: "refused by the broker in the middle of the replay" };
        acks.push((count, meter.send(message(&readings, Some(&msg_id), true)).await.map_err(gone)?));
        sent.insert(msg_id, count);
    }
    for (count, ack) in acks {
        if ack.await.is_ok() {
            outcome.acked += count;
        }
    }
    reckon(receipts, sent, &mut outcome, how.receipt_wait).await;
    drop(meter);
    Ok(outcome)
}

fn since_first(series: &[Recorded], part: &[Recorded], speed: f64) -> Duration {
    let wall = |r: &Recorded| r.time.text(0).and_then(|t| t.get(..19)?.parse::<DateTime>().ok());
    let seconds = series.iter().find_map(wall).zip(part.first().and_then(wall)).map_or(0.0, |(first, this)| {
        first
            .until(this)
            .and_then(|s| s.total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours())))
            .unwrap_or(0.0)
    });
    Duration::try_from_secs_f64(seconds / speed).unwrap_or_default()
}

/// Receipts by message id, the first of each: a second one answers a repeat that a lost connection caused.
type Receipts = tokio::sync::watch::Receiver<HashMap<String, Vec<(String, Vec<String>)>>>;

fn listen(mut heard: mpsc::Receiver<Heard>) -> Receipts {
    let (say, receipts) = tokio::sync::watch::channel(HashMap::new());
    tokio::spawn(async move {
        while let Some(word) = heard.recv().await {
            let Heard::Receipt(bytes) = word else { continue };
            if let Ok(Receipt { msg_id: Some(id), results }) = serde_json::from_slice(&bytes) {
                let results = results.into_iter().map(|r| (r.result, r.reasons)).collect();
                say.send_modify(|all: &mut HashMap<_, _>| {
                    all.entry(id).or_insert(results);
                });
            }
        }
    });
    receipts
}

async fn reckon(mut receipts: Receipts, sent: HashMap<String, u64>, outcome: &mut Outcome, wait: Duration) {
    let ids: HashSet<&String> = sent.keys().collect();
    let _ = tokio::time::timeout(wait, receipts.wait_for(|all| ids.iter().all(|id| all.contains_key(*id)))).await;
    let all = receipts.borrow();
    for (id, count) in &sent {
        let Some(results) = all.get(id) else {
            outcome.unanswered += count;
            continue;
        };
        for (result, reasons) in results {
            match result.as_str() {
                "stored" => outcome.stored += 1,
                "duplicate" => outcome.duplicate += 1,
                "flagged" => outcome.flagged += 1,
                "excluded" => outcome.excluded += 1,
                "quarantined" => outcome.quarantined += 1,
                _ => continue,
            }
            for reason in reasons {
                *outcome.reasons.entry(format!("{result} {reason}")).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> Vec<Recorded> {
        let text = format!("id,time_local,sbp_mmhg,dbp_mmhg\n{text}");
        forms::read(text.as_bytes(), &forms::Wanted::default()).unwrap().series.remove("a").unwrap()
    }

    #[test]
    fn a_shifted_series_ends_yesterday() {
        let series = series("a,2020-02-28 23:10:00,150,100\na,2020-03-01 07:00:00,140,90\n");
        let days = days_to(&series, jiff::civil::date(2026, 3, 2));
        let moved: Vec<_> = series.iter().map(|r| shifted(r, days).get().to_owned()).collect();
        assert!(moved[1].contains("2026-03-01T07:00:00"), "{}", moved[1]);
        assert!(moved[0].contains("2026-02-27T23:10:00"), "{}", moved[0]);
    }

    #[test]
    fn speed_scales_the_gaps() {
        let series = series("a,2020-02-28 23:10:00,150,100\na,2020-02-29 00:10:00,140,90\n");
        assert_eq!(since_first(&series, &series[1..], 3600.0), Duration::from_secs(1));
    }

    #[test]
    fn books_balance_or_not() {
        let whole = Outcome { sent: 3, acked: 3, stored: 1, flagged: 1, quarantined: 1, ..Outcome::default() };
        assert!(whole.balances());
        assert!(!Outcome { acked: 2, ..whole.clone() }.balances());
        assert!(!Outcome { stored: 0, unanswered: 1, ..whole }.balances());
    }
}
