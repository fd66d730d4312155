//! What is asked of a patient's meter: a repeat, a week of measuring. Each once for each finding, while it can still be of
//! use.

use crate::{
    Point, Rule,
    conclusion::Conclusion,
    person::{Person, Scene},
};
use std::time::Duration;
use store::DeviceCommand;
use vitals::Timestamp;

/// How long a week of measuring may wait to be begun.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A request to measure again.
#[derive(Clone, Copy)]
pub(crate) struct Repeat {
    pub times: u32,
    pub after_seconds: u32,
    /// Of no use later.
    pub until: Timestamp,
    /// When it is asked once more, if nobody answers.
    pub once_more: Option<Timestamp>,
}

impl Person {
    /// Asks the meter that sent `point` for a repeat, once for each finding, while it can still be of use.
    pub(crate) fn ask_again<W>(
        &self,
        scene: &mut Scene<'_, W>,
        conclusion: &Conclusion,
        point: &Point,
        mut repeat: Repeat,
    ) {
        if scene.hushes(&[point.id]) || !is_fresh(scene, conclusion) || repeat.until <= scene.now {
            return;
        }
        repeat.once_more = repeat.once_more.filter(|at| *at > scene.now);
        self.command(scene, id_of(conclusion.rule, point), None, point, repeat);
    }

    /// Asks once more for what was asked already.
    pub(crate) fn ask_once_more<W>(&self, scene: &mut Scene<'_, W>, rule: Rule, point: &Point, repeat: Repeat) {
        let first = id_of(rule, point);
        self.command(scene, format!("{first}-again"), Some(&first), point, repeat);
    }

    fn command<W>(&self, scene: &mut Scene<'_, W>, id: String, repeats: Option<&str>, point: &Point, repeat: Repeat) {
        if scene.batch.commands.iter().any(|c| c.id == id) {
            return;
        }
        let mut body = serde_json::json!({
            "v": 1, "id": id, "type": "remeasure", "kind": point.kind().as_str(), "times": repeat.times,
            "afterSeconds": repeat.after_seconds, "expiresAt": repeat.until.to_rfc3339(&self.zone),
        });
        if let Some(at) = repeat.once_more {
            body["repeatAt"] = at.to_rfc3339(&self.zone).into();
        }
        if let Some(first) = repeats {
            body["repeatOf"] = first.into();
        }
        let (device, expires_at) = (point.device, repeat.until);
        scene.batch.commands.push(DeviceCommand { id, device, body: body.to_string(), expires_at });
    }

    /// Asks for a week of measuring on the meter that measured last, once for each finding.
    pub(crate) fn ask_for_a_week<W>(&self, scene: &mut Scene<'_, W>, asks: &Conclusion) {
        let until = asks.effective_at.plus(WEEK);
        let Some(device) = self.window.newest().map(|p| p.device) else { return };
        if !is_fresh(scene, asks) || until <= scene.now {
            return;
        }
        let id = format!("reminder-{}-{}-{}", asks.rule.id(), self.id(), asks.effective_at.as_micros());
        let body = serde_json::json!({
            "v": 1, "id": id, "type": "reminder", "kind": "blood_pressure", "perDay": 2, "days": 7,
            "text": "请连续 7 天早晚各测一次血压。 Please measure your blood pressure morning and evening for 7 days.",
            "expiresAt": until.to_rfc3339(&self.zone),
        });
        scene.batch.commands.push(DeviceCommand { id, device, body: body.to_string(), expires_at: until });
    }
}

fn id_of(rule: Rule, point: &Point) -> String {
    format!("remeasure-{}-{}", rule.id(), point.id)
}

/// Whether a conclusion is new, and not only what stood before.
fn is_fresh<W>(scene: &Scene<'_, W>, conclusion: &Conclusion) -> bool {
    scene.batch.new.iter().rev().take(4).any(|(draft, _)| {
        *draft.rule == *conclusion.rule.id()
            && draft.effective_at == conclusion.effective_at
            && draft.readings == conclusion.readings
    })
}
