//! A person at home with a meter that is on: measures now and then, measures again when asked to.
//!
//! Goes in: a [`Meter`], a [`Person`], what is to happen. Comes out: readings over MQTT until the task is dropped.
//! Real time only: this is the living part of a demonstration, not of an evaluation.
//! Must never: send a value that the person's state does not give.

use crate::{
    Error,
    credentials::Credential,
    dice::Dice,
    history::{Person, clock_text},
    message::{self, Reading},
    meter::{Heard, Meter, Options, Target},
};
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};
use vitals::Timestamp;

/// What this person does, counted from the start.
#[derive(Clone, Debug)]
pub struct Day {
    /// The first measurement.
    pub first_after: Duration,
    /// Between measurements, give or take a fifth.
    pub every: Duration,
    /// From here on the person is in a hypertensive crisis and measures three times, ten seconds apart.
    pub crisis_after: Option<Duration>,
    /// The longest wait that a request to measure again is granted (a demonstration has no five minutes).
    pub patience: Duration,
    /// The meter's next sequence number.
    pub next_seq: u64,
}

/// A command from the service, as far as a meter cares (contract: device protocol, section 4).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command {
    #[serde(rename = "type")]
    kind: String,
    times: Option<u32>,
    after_seconds: Option<u64>,
}

/// Runs one living meter until its task is aborted or the broker refuses it.
///
/// # Errors
/// What [`Meter::connect`] gives; later losses of connection are mended by the meter itself.
pub async fn live(target: &Target, credential: Credential, person: Person, day: Day) -> Result<(), Error> {
    let options = Options { commands: true, ..Options::default() };
    let (meter, heard) = Meter::connect(target, credential, options).await?;
    let dice = Dice::new(person.seed()).fork(0x11fe);
    Home { meter, person, dice, seq: day.next_seq, crisis: false }.run(heard, day).await;
    Ok(())
}

struct Home {
    meter: Meter,
    person: Person,
    dice: Dice,
    seq: u64,
    crisis: bool,
}

impl Home {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>, day: Day) {
        let start = Instant::now();
        let mut due = vec![start + day.first_after];
        let mut crisis = day.crisis_after.map(|after| start + after);
        loop {
            due.sort_unstable();
            let next = due.iter().copied().chain(crisis).min().unwrap_or_else(|| start + Duration::from_secs(86_400));
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    if crisis == Some(next) {
                        self.crisis = true;
                        crisis = None;
                        due.extend([0, 10, 20].map(|s| next + Duration::from_secs(s)));
                        continue;
                    }
                    due.retain(|at| *at != next);
                    if !self.measure().await {
                        return;
                    }
                    if due.is_empty() {
                        due.push(Instant::now() + day.every.mul_f64(0.8 + 0.4 * self.dice.unit()));
                    }
                }
                word = heard.recv() => match word {
                    Some(Heard::Command(bytes)) => due.extend(again(&bytes, day.patience)),
                    Some(Heard::Receipt(_)) => {}
                    None => return,
                },
            }
        }
    }

    /// Measures once; false when the meter has been refused for good.
    async fn measure(&mut self) -> bool {
        let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
        let values =
            if self.crisis { self.person.crisis(&mut self.dice) } else { self.person.now(now, &mut self.dice) };
        let reading = Reading { seq: self.seq, time: clock_text(now), values };
        self.seq += 1;
        self.meter.publish(message::message(&[reading], None, false)).await.is_ok()
    }
}

/// When a `remeasure` asks for measurements; nothing for any other command.
fn again(bytes: &[u8], patience: Duration) -> Vec<Instant> {
    match serde_json::from_slice::<Command>(bytes) {
        Ok(c) if c.kind == "remeasure" => {
            let first = Instant::now() + Duration::from_secs(c.after_seconds.unwrap_or(60)).min(patience);
            (0..c.times.unwrap_or(1).min(5)).map(|n| first + patience.min(Duration::from_secs(60)) * n).collect()
        }
        _ => Vec::new(),
    }
}
