//! Numbers of one rule that contradict each other unless one lies below the other: severities that would overlap, steps
//! that would come before the step before them. Must never: hold a number.

use crate::Rule;

/// Pairs of parameters: the first must be below the second.
const fn pairs(rule: Rule) -> &'static [(&'static str, &'static str)] {
    match rule {
        Rule::BpC1 => &[("diastolic", "systolic")],
        Rule::BpC2 => &[("systolic", "dizzy")],
        Rule::BpS1 => &[("homeDiastolic", "homeSystolic")],
        Rule::BpS2 => &[("low", "oldLow")],
        Rule::GluC1 => &[("limit", "recovered")],
        Rule::GluC3 => &[("limit", "critical")],
        Rule::GluH1 => &[("severe", "limit")],
        Rule::GluV1 => &[("limit", "urgent")],
        Rule::Adh1 => &[("remind", "call"), ("call", "inform")],
        Rule::BpT1 | Rule::BpT2 => &[("gate", "urgent"), ("mediumFrom", "denseFrom")],
        Rule::Pul1 => &[("slow", "fast")],
        _ => &[],
    }
}

/// The first pair that is the wrong way round.
pub(crate) fn broken(rule: Rule, value: impl Fn(&str) -> Option<f64>) -> Option<(&'static str, &'static str)> {
    let wrong = |pair: &&(&str, &str)| matches!((value(pair.0), value(pair.1)), (Some(low), Some(high)) if low >= high);
    pairs(rule).iter().find(wrong).copied()
}
