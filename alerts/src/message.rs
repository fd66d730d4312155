//! How a message looks: the JSON of the contract, its stable key, its words in the reader's language. Pure.
//!
//! Goes in: what is told, to whom, on which contact. Comes out: a row for the outbox, whose bytes never change again.
//! Must never: put a name or a measured value in, unless the channel says `detail = "full"`.

use crate::{
    book::Case,
    config::{Channel, Config, Detail, minutes},
    link,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use store::{Contact, Link, NewMessage, User};
use vitals::{AlertId, Concept, Patient, PatientId, RuleId, Severity, TeamId, Timestamp, Zone};

/// What every message needs.
pub(crate) struct Press<'a> {
    pub(crate) config: &'a Config,
    pub(crate) public_url: &'a str,
    pub(crate) link_key: &'a [u8; 32],
    pub(crate) zone: &'a Zone,
    pub(crate) now: Timestamp,
}

/// One item of a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    pub(crate) alert: AlertId,
    pub(crate) patient: PatientId,
    pub(crate) concept: Concept,
    pub(crate) severity: Severity,
    pub(crate) rule: RuleId,
}

/// `webhook-id`: the same parts give the same key, and it tells nobody anything.
fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    format!("msg_{}", hex::encode(&digest[..16]))
}

impl Press<'_> {
    fn detail(&self, contact: &Contact) -> Detail {
        self.config.channels.get(&contact.channel).map(|c: &Channel| c.detail).unwrap_or_default()
    }

    fn row(&self, id: String, kind: &'static str, user: &User, contact: &Contact, data: Value) -> NewMessage {
        let body = json!({ "type": kind, "timestamp": self.now.to_rfc3339(self.zone), "data": data });
        NewMessage {
            id,
            alert: None,
            kind,
            channel: contact.channel.clone(),
            user: Some(user.id),
            address: contact.address.clone(),
            level: 0,
            cycle: 0,
            critical: false,
            created_at: self.now,
            expires_at: self.now.plus(Duration::from_secs(u64::from(self.config.other_expiry_hours) * 3600)),
            body: body.to_string(),
        }
    }

    /// `alert.notification`.
    pub(crate) fn page(
        &self,
        case: &Case,
        patient: Option<&Patient>,
        user: &User,
        contact: &Contact,
        level: u32,
        repeat: u32,
    ) -> NewMessage {
        let e = &case.episode;
        let (alert, cycle, severity) = (e.id.to_string(), e.cycle.to_string(), e.severity.as_str());
        let id = key(&[
            &alert,
            &cycle,
            &level.to_string(),
            severity,
            &user.id.to_string(),
            &contact.channel,
            &contact.address,
            &repeat.to_string(),
        ]);
        let until = self.now.plus(Duration::from_secs(u64::from(self.config.link_hours) * 3600));
        let token = link::make(self.link_key, Link { alert: e.id, user: user.id, cycle: e.cycle }, until);
        let words = Words::of(user);
        let mut data = json!({
            "alertId": alert, "patientId": e.patient, "concept": e.concept, "severity": e.severity,
            "level": level, "cycle": e.cycle, "ruleId": e.rule,
            "recipient": { "userId": user.id, "address": contact.address },
            "raisedAt": case.memo.decided_at.to_rfc3339(self.zone),
            "title": words.title(e.severity, e.concept),
            "text": words.text(level, case.memo.late.then(|| self.now.since(case.memo.since))),
            "ackUrl": format!("{}/api/v1/a/{token}", self.public_url),
        });
        if self.detail(contact) == Detail::Full {
            let evidence: Value = serde_json::from_str(&e.evidence).unwrap_or(Value::Null);
            data["patient"] = json!({ "name": patient.map(|p| &p.name), "phone": patient.map(|p| &p.phone) });
            data["evidence"] = evidence;
        }
        let critical = e.severity == Severity::Critical;
        let mut row = self.row(id, "alert.notification", user, contact, data);
        (row.alert, row.level, row.cycle, row.critical) = (Some(e.id), level, e.cycle, critical);
        if critical {
            row.expires_at = self.now.plus(minutes(self.config.critical_expiry_minutes));
        }
        row
    }

    /// `alert.acknowledged` and `alert.resolved`.
    pub(crate) fn quiet(&self, case: &Case, kind: &'static str, user: &User, contact: &Contact) -> NewMessage {
        let e = &case.episode;
        let words = Words::of(user);
        let id = key(&[&e.id.to_string(), &e.cycle.to_string(), kind, &user.id.to_string(), &self.now_text()]);
        let data = json!({
            "alertId": e.id, "patientId": e.patient, "concept": e.concept, "severity": e.severity,
            "level": e.level, "cycle": e.cycle, "state": e.state, "by": e.owner,
            "recipient": { "userId": user.id, "address": contact.address },
            "title": words.quiet(kind, e.concept),
        });
        let mut row = self.row(id, kind, user, contact, data);
        (row.alert, row.level, row.cycle) = (Some(e.id), e.level, e.cycle);
        row
    }

    /// `alert.digest`, one for everything that this person has to look at this morning.
    pub(crate) fn digest(&self, user: &User, contact: &Contact, items: &[Item]) -> NewMessage {
        let alerts: Vec<String> = items.iter().map(|i| i.alert.to_string()).collect();
        let id = key(&["digest", &user.id.to_string(), &contact.channel, &alerts.join(" "), &self.now_text()]);
        let shown: Vec<Value> = items
            .iter()
            .map(|i| {
                json!({ "alertId": i.alert, "patientId": i.patient, "concept": i.concept, "severity": i.severity,
                        "ruleId": i.rule, "link": format!("{}/alerts/{}", self.public_url, i.alert) })
            })
            .collect();
        let words = Words::of(user);
        let data = json!({
            "recipient": { "userId": user.id, "address": contact.address },
            "title": words.digest(items.len()), "items": shown,
        });
        self.row(id, "alert.digest", user, contact, data)
    }

    /// `service.warning`. `about` makes the key: the same matter is told to one person once.
    pub(crate) fn warning(&self, user: &User, contact: &Contact, about: &Warning<'_>) -> NewMessage {
        let id = key(&["warning", &user.id.to_string(), &contact.channel, &about.matter]);
        let data = json!({
            "recipient": { "userId": user.id, "address": contact.address },
            "reason": about.reason, "teamId": about.team, "step": about.step, "channel": about.channel,
            "alertId": about.alert, "title": Words::of(user).warning(about.reason),
        });
        let mut row = self.row(id, "service.warning", user, contact, data);
        row.alert = about.alert;
        row
    }

    fn now_text(&self) -> String {
        self.now.as_micros().to_string()
    }
}

/// What a `service.warning` is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warning<'a> {
    /// Makes the key.
    pub(crate) matter: String,
    /// `empty_step`, `dead_channel` or `books_mismatch`.
    pub(crate) reason: &'static str,
    pub(crate) team: Option<TeamId>,
    pub(crate) step: Option<u32>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) alert: Option<AlertId>,
}

/// The reader's language.
#[derive(Clone, Copy)]
enum Words {
    Chinese,
    English,
}

impl Words {
    fn of(user: &User) -> Self {
        if user.locale.as_deref() == Some("en") { Self::English } else { Self::Chinese }
    }

    fn title(self, severity: Severity, concept: Concept) -> String {
        let (zh, en) = concept_words(concept);
        match (self, severity) {
            (Self::Chinese, Severity::Critical) => format!("【危急】{zh}"),
            (Self::Chinese, Severity::Urgent) => format!("【紧急】{zh}"),
            (Self::Chinese, _) => format!("【常规】{zh}"),
            (Self::English, Severity::Critical) => format!("Critical: {en}"),
            (Self::English, Severity::Urgent) => format!("Urgent: {en}"),
            (Self::English, _) => format!("Routine: {en}"),
        }
    }

    /// `age`: of what was measured long ago and only came now.
    fn text(self, level: u32, age: Option<Duration>) -> String {
        let text = match self {
            Self::Chinese => format!("您团队的一位患者需要处理，请打开链接确认收到（第{level}级呼叫）。"),
            Self::English => {
                format!("A patient of your team needs you. Open the link to acknowledge (call level {level}).")
            }
        };
        let Some(hours) = age.map(|age| age.as_secs() / 3600) else { return text };
        match (self, hours) {
            (Self::Chinese, 0..72) => format!("补传数据：测量于约{hours}小时前。{text}"),
            (Self::Chinese, _) => format!("补传数据：测量于约{}天前。{text}", hours / 24),
            (Self::English, 0..72) => format!("Uploaded late: measured about {hours} hours ago. {text}"),
            (Self::English, _) => format!("Uploaded late: measured about {} days ago. {text}", hours / 24),
        }
    }

    fn quiet(self, kind: &str, concept: Concept) -> String {
        let (zh, en) = concept_words(concept);
        match (self, kind) {
            (Self::Chinese, "alert.resolved") => format!("已结束：{zh}"),
            (Self::Chinese, _) => format!("已有人确认：{zh}"),
            (Self::English, "alert.resolved") => format!("Resolved: {en}"),
            (Self::English, _) => format!("Acknowledged: {en}"),
        }
    }

    fn digest(self, n: usize) -> String {
        match self {
            Self::Chinese => format!("今日待办：{n} 项"),
            Self::English => format!("To look at today: {n}"),
        }
    }

    fn warning(self, reason: &str) -> &'static str {
        match (self, reason) {
            (Self::Chinese, "dead_channel") => "有一个联系方式已失效，请更新",
            (Self::Chinese, "books_mismatch") => "账目与存储的数据不一致，请立即核查",
            (Self::Chinese, _) => "呼叫链中有一级无人可联系，请检查排班",
            (Self::English, "dead_channel") => "A contact no longer works: please update it",
            (Self::English, "books_mismatch") => "The books do not agree with what is stored: look at it now",
            (Self::English, _) => "A step of the chain reaches nobody: please check the roster",
        }
    }
}

const fn concept_words(concept: Concept) -> (&'static str, &'static str) {
    match concept {
        Concept::BpCrisis => ("血压危象", "blood pressure crisis"),
        Concept::BpLow => ("血压过低", "low blood pressure"),
        Concept::BpSustained => ("血压持续偏高", "blood pressure above target"),
        Concept::BpOvertreated => ("血压可能控制过低", "blood pressure possibly overtreated"),
        Concept::BpMorning => ("清晨血压偏高", "morning blood pressure above target"),
        Concept::BpTrendUp => ("血压上升趋势", "blood pressure rising"),
        Concept::BpTrendDown => ("血压下降趋势", "blood pressure falling"),
        Concept::BpVariability => ("血压波动大", "blood pressure variability"),
        Concept::PulseIrregular => ("脉搏不齐", "irregular pulse"),
        Concept::GlucoseLowSevere => ("严重低血糖", "severe low glucose"),
        Concept::GlucoseLow => ("低血糖", "low glucose"),
        Concept::GlucoseHighCritical => ("血糖危急偏高", "very high glucose"),
        Concept::GlucoseLowPattern => ("反复低血糖", "repeated low glucose"),
        Concept::GlucoseFastingHigh => ("空腹血糖偏高", "fasting glucose above target"),
        Concept::GlucosePostmealHigh => ("餐后血糖偏高", "post-meal glucose above target"),
        Concept::GlucoseTrendUp => ("血糖上升趋势", "glucose rising"),
        Concept::GlucoseVariability => ("血糖波动大", "glucose variability"),
        Concept::DeviceQuality => ("测量质量", "measurement quality"),
        Concept::Adherence => ("未按计划测量", "measurements missing"),
        Concept::NoResponse => ("无人响应", "no response"),
        Concept::FollowUpDue => ("随访到期", "follow-up due"),
        Concept::PregnancyBp => ("妊娠期血压", "blood pressure in pregnancy"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_uploaded_late_says_how_old_it_is() {
        let hours = |n: u64| Some(Duration::from_secs(n * 3600));
        assert_eq!(
            Words::Chinese.text(1, hours(26)),
            format!("补传数据：测量于约26小时前。{}", Words::Chinese.text(1, None))
        );
        assert!(Words::Chinese.text(1, hours(24 * 9)).starts_with("补传数据：测量于约9天前。"));
        assert!(Words::English.text(2, hours(71)).starts_with("Uploaded late: measured about 71 hours ago. "));
        assert!(Words::English.text(2, hours(72)).starts_with("Uploaded late: measured about 3 days ago. "));
    }
}
