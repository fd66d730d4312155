//! Why nothing came: a silence that has lasted long enough is weighed against what is known of the way from the meter to
//! here. Pure: what is known comes from the [`World`](crate::World).
//!
//! Must never: lay at the patient's door what this service failed to take.

use crate::{Point, adherence::Steps, conclusion::Conclusion, numbers::Numbers};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use store::Outage;
use vitals::Timestamp;

/// Presence is of this moment: it says nothing of a silence that was over long ago.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Many meters switch themselves off after a measurement without a word: such an end is no fault.
const USUAL_END: Duration = Duration::from_secs(3600);

/// What most likely lies behind a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing points to anything but that nothing was measured.
    Lapse,
    /// The meter's battery is low.
    Battery,
    /// The gateway that the meter speaks through is not there.
    Gateway,
    /// The meter's own connection broke off and did not come back.
    Carrier,
    /// This service did not run, or could not write.
    Outage,
}

impl Cause {
    /// Every one; a card has words for each.
    pub const ALL: [Self; 5] = [Self::Lapse, Self::Battery, Self::Gateway, Self::Carrier, Self::Outage];

    /// The word of the evidence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lapse => "lapse",
            Self::Battery => "battery",
            Self::Gateway => "gateway",
            Self::Carrier => "carrier",
            Self::Outage => "outage",
        }
    }
}

/// What is known of the way from a patient's meter to here.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// When this service could take nothing, in order.
    pub outages: Arc<[Outage]>,
    /// The meter's presence, where it is known.
    pub meter: Option<Meter>,
}

/// A meter's presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Percent, as it last said.
    pub battery: Option<u8>,
    /// It speaks through a gateway.
    pub gateway: bool,
    /// Since when its connection (or its gateway's) is broken off.
    pub lost: Option<Timestamp>,
}

/// Names the cause of one step of a silence that began with the reading `last`.
pub(crate) fn explain(
    c: &mut Conclusion,
    link: &Link,
    last: Option<&Point>,
    steps: &Steps,
    numbers: &Numbers<'_>,
    now: Timestamp,
) {
    let begun = steps.before(c.since, c.effective_at);
    let down = overlap(&link.outages, (begun, c.effective_at));
    let share = down.as_secs_f64() / c.effective_at.since(begun).as_secs_f64().max(1.0);
    let meter = link.meter.filter(|_| now.since(c.effective_at) <= RECENT).unwrap_or_default();
    let low = meter.battery.is_some_and(|percent| f64::from(percent) <= numbers.value("battery"));
    let broken = meter.lost.is_some_and(|at| meter.gateway || at.since(c.since) >= USUAL_END);
    let cause = match () {
        () if share >= numbers.value("outage") => Cause::Outage,
        () if low || last.is_some_and(|p| p.low_battery) => Cause::Battery,
        () if broken && meter.gateway => Cause::Gateway,
        () if broken => Cause::Carrier,
        () => Cause::Lapse,
    };
    if !down.is_zero() {
        c.numbers.push(("outageHours", down.as_secs_f64() / 3600.0));
    }
    if let Some(percent) = meter.battery {
        c.numbers.push(("batteryPercent", f64::from(percent)));
    }
    // The patient is not reminded of what we failed to take.
    c.note |= cause == Cause::Outage && c.step == "remind";
    c.cause = Some(cause);
}

/// How much of a stretch lies within any of these.
fn overlap(outages: &[Outage], (from, to): Outage) -> Duration {
    let reach = outages.partition_point(|o| o.1 <= from);
    let within = outages[reach..].iter().take_while(|o| o.0 < to);
    within.map(|o| o.1.min(to).since(o.0.max(from))).sum()
}
