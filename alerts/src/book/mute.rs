//! What a critical keeps back while it lasts: lower alerts of the same patient about the same end of the same quantity,
//! as long as nobody was told of them. They are stored and shown (`inhibitedBy`) and told when it is over, if they still
//! stand by then.
//!
//! Must never: keep back a critical, or anything about the opposite end, another patient, devices or absence.

use super::{Case, Context, Effect, event};
use store::AlertState;
use vitals::Concept;

/// Of what a critical of this concept keeps lower alerts back.
pub(crate) const fn keeps_back(critical: Concept) -> &'static [Concept] {
    use Concept as C;
    match critical {
        C::BpCrisis | C::PregnancyBp => &[C::BpSustained, C::BpMorning, C::BpTrendUp],
        C::BpLow => &[C::BpOvertreated, C::BpTrendDown],
        C::GlucoseLowSevere => &[C::GlucoseLow, C::GlucoseLowPattern],
        C::GlucoseHighCritical => &[C::GlucoseFastingHigh, C::GlucosePostmealHigh, C::GlucoseTrendUp],
        _ => &[],
    }
}

impl Case {
    /// Instead of a first send: whether it waits for the end of a critical.
    pub(super) fn keep_back(&mut self, ctx: &Context<'_>, out: &mut Vec<Effect>) -> bool {
        self.episode.inhibited_by = ctx.over.filter(|_| !self.critical());
        let Some(critical) = self.episode.inhibited_by else { return false };
        self.episode.state = AlertState::Open;
        self.stop_timer();
        out.push(event("held", None, format!("inhibited by {critical}")));
        true
    }

    /// A critical that may keep this one back came or went. Who was told of it already goes on being asked.
    pub(crate) fn judge_again(&mut self, ctx: &Context<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        let waits = self.episode.state == AlertState::Open && self.episode.snoozed_until.is_none() && !self.critical();
        if waits && self.episode.inhibited_by != ctx.over {
            if ctx.over.is_none() {
                out.push(event("woken", None, "what inhibited it is over"));
            }
            self.begin(ctx, &mut out);
        }
        out
    }
}
