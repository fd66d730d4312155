//! What is asked of a patient's meter: a repeat, a week of measuring. Each once for each finding, while it can still be of
//! use.

use crate::{
    Point,
    conclusion::Conclusion,
    person::{Person, Scene},
};
use std::time::Duration;
use store::DeviceCommand;
use vitals::Timestamp;

/// How long a week of measuring may wait to be begun.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Person {
    /// Asks the meter that sent `point` for a repeat, once for each finding, while it can still be of use.
    pub(crate) fn ask_again<W>(
        &self,
        scene: &mut Scene<'_, W>,
        conclusion: &Conclusion,
        point: &Point,
        (times, after_seconds): (u32, u32),
        until: Timestamp,
    ) {
        if !is_fresh(scene, conclusion) || until <= scene.now {
            return;
        }
        let id = format!("remeasure-{}-{}", conclusion.rule.id(), point.id);
        self.command(scene, id, point, (times, after_seconds), until);
    }

    /// Asks the meter that sent `point` for a repeat.
    pub(crate) fn command<W>(
        &self,
        scene: &mut Scene<'_, W>,
        id: String,
        point: &Point,
        (times, after_seconds): (u32, u32),
        until: Timestamp,
    ) {
        if scene.batch.commands.iter().any(|c| c.id == id) {
            return;
        }
        let body = serde_json::json!({
            "v": 1, "id": id, "type": "remeasure", "kind": point.kind().as_str(), "times": times,
            "afterSeconds": after_seconds, "expiresAt": until.to_rfc3339(&self.zone),
        });
        let body = body.to_string();
        scene.batch.commands.push(DeviceCommand { id, device: point.device, body, expires_at: until });
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

/// Whether a conclusion is new, and not only what stood before.
fn is_fresh<W>(scene: &Scene<'_, W>, conclusion: &Conclusion) -> bool {
    scene.batch.new.iter().rev().take(4).any(|(draft, _)| {
        *draft.rule == *conclusion.rule.id()
            && draft.effective_at == conclusion.effective_at
            && draft.readings == conclusion.readings
    })
}
