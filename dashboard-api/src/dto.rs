//! Records as the API writes them.

use crate::{access::ROLES, doubt::DoubtView, state::Inner};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{AlertState, Contact, Delivery, Episode, Organisation, Team, User};
use utoipa::ToSchema;
use vitals::{
    AlertId, BindingId, Decimal, Device, DeviceKind, Finding, FindingId, GlucoseValue, OrganisationId, Patient,
    PatientId, Reading, ReadingId, TeamId, UserId, Values,
    personal::{Doubt, PERSONAL_OUTLIER},
};

/// A number with the digits that were sent: `6.20` stays `6.20`.
fn digits(number: Decimal) -> Option<Box<RawValue>> {
    RawValue::from_string(number.to_string()).ok()
}

/// A reading.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadingView {
    #[schema(value_type = String)]
    pub(crate) id: ReadingId,
    /// `blood_pressure` or `blood_glucose`.
    kind: &'static str,
    measured_at: String,
    received_at: String,
    /// `exact corrected assumed received`.
    time_quality: &'static str,
    device_id: Option<String>,
    user_slot: Option<u8>,
    #[schema(value_type = Option<f64>)]
    systolic: Option<Box<RawValue>>,
    #[schema(value_type = Option<f64>)]
    diastolic: Option<Box<RawValue>>,
    #[schema(value_type = Option<f64>)]
    map: Option<Box<RawValue>>,
    #[schema(value_type = Option<f64>)]
    pulse: Option<Box<RawValue>>,
    /// A number, or `HI` or `LO` beyond the meter's range.
    #[schema(value_type = Option<Value>)]
    glucose: Option<Box<RawValue>>,
    unit: &'static str,
    meal: Option<&'static str>,
    meal_name: Option<&'static str>,
    status: Vec<&'static str>,
    /// `zone_suspect`, and `personal_outlier` where there is a `doubt`.
    flags: Vec<String>,
    /// Far from the person's own readings: somebody else may have measured. It changes nothing but what is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<DoubtView>,
    /// `stored flagged excluded`.
    result: &'static str,
    historical: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    symptoms: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    medication_taken: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl ReadingView {
    pub(crate) fn new(api: &Inner, r: &Reading) -> Self {
        let (mut systolic, mut diastolic, mut map, mut pulse, mut glucose) = (None, None, None, None, None);
        match &r.values {
            Values::Pressure { systolic: s, diastolic: d, map: m, pulse: p } => {
                (systolic, diastolic, map, pulse) = (digits(*s), digits(*d), m.and_then(digits), p.and_then(digits));
            }
            Values::Glucose(GlucoseValue::Value(v)) => glucose = digits(*v),
            Values::Glucose(GlucoseValue::High) => glucose = RawValue::from_string("\"HI\"".into()).ok(),
            Values::Glucose(GlucoseValue::Low) => glucose = RawValue::from_string("\"LO\"".into()).ok(),
        }
        Self {
            id: r.id,
            kind: r.kind().as_str(),
            measured_at: api.time(r.measured_at),
            received_at: api.time(r.received_at),
            time_quality: r.time_quality.as_str(),
            device_id: api.directory().device_by_key(r.device).map(|d| d.id.to_string()),
            user_slot: r.user_slot,
            systolic,
            diastolic,
            map,
            pulse,
            glucose,
            unit: r.unit.as_str(),
            meal: r.context.meal.map(|m| m.as_str()),
            meal_name: r.context.meal_name.map(|m| m.as_str()),
            status: r.statuses.iter().map(|s| s.as_str()).collect(),
            flags: r.flags.iter().map(|f| f.to_string()).collect(),
            doubt: None,
            result: r.disposition.as_str(),
            historical: r.historical,
            symptoms: r.context.symptoms.iter().map(|s| s.to_string()).collect(),
            medication_taken: r.context.medication_taken,
            note: r.context.note.as_ref().map(|n| n.to_string()),
        }
    }

    /// The same with what there is to doubt.
    pub(crate) fn doubted(self, doubt: Option<&Doubt>) -> Self {
        let Some(doubt) = doubt else { return self };
        let flags = self.flags.into_iter().chain([PERSONAL_OUTLIER.to_owned()]).collect();
        Self { flags, doubt: Some(DoubtView::from(doubt)), ..self }
    }
}

/// A patient's record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PatientView {
    #[schema(value_type = String)]
    pub(crate) id: PatientId,
    name: String,
    birth_date: Option<String>,
    sex: Option<String>,
    tags: Vec<String>,
    conditions: Vec<String>,
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    phone: Option<String>,
    time_zone: Option<String>,
    enrolled_at: String,
    /// The day of the last visit that was recorded.
    visited_on: Option<String>,
}

impl PatientView {
    pub(crate) fn new(api: &Inner, p: &Patient) -> Self {
        Self {
            id: p.id,
            name: p.name.clone(),
            birth_date: p.birth_date.map(|d| d.to_string()),
            sex: p.sex.clone(),
            tags: p.tags.clone(),
            conditions: p.conditions.clone(),
            team_id: p.team,
            organisation_id: p.organisation,
            phone: p.phone.clone(),
            time_zone: p.time_zone.clone(),
            enrolled_at: api.time(p.enrolled_at),
            visited_on: p.visited_on.map(|d| d.to_string()),
        }
    }
}

/// An alert in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertView {
    #[schema(value_type = String)]
    id: AlertId,
    #[schema(value_type = String)]
    patient_id: PatientId,
    patient_name: Option<String>,
    #[schema(value_type = Option<String>)]
    team_id: Option<TeamId>,
    concept: &'static str,
    severity: &'static str,
    state: &'static str,
    rule_id: String,
    raised_at: String,
    level: u32,
    cycle: u32,
    next_at: Option<String>,
    /// Of a follow-up: when the patient is to be spoken to again.
    due_at: Option<String>,
    /// That time has come.
    due: bool,
    /// Readings over the limit in the episode.
    count: u32,
    #[schema(value_type = Option<String>)]
    owner: Option<UserId>,
    owner_name: Option<String>,
    exhausted: bool,
    snoozed_until: Option<String>,
    held_until: Option<String>,
    #[schema(value_type = Option<String>)]
    inhibited_by: Option<AlertId>,
    #[schema(value_type = Option<String>)]
    previous_id: Option<AlertId>,
    /// Readings of the episode that are far from the person's own: ask who measured. In lists and in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    doubtful: Option<usize>,
}

impl AlertView {
    /// The same with how many of its readings are doubted.
    pub(crate) fn doubted(self, doubtful: usize) -> Self {
        Self { doubtful: Some(doubtful), ..self }
    }

    pub(crate) fn new(api: &Inner, e: &Episode) -> Self {
        // A follow-up that was snoozed waits for its waking instead.
        let due_at = e.next_at.filter(|_| e.state == AlertState::FollowUp && e.snoozed_until.is_none());
        Self {
            id: e.id,
            patient_id: e.patient,
            patient_name: api.directory().patient(e.patient).map(|p| p.name.clone()),
            team_id: e.team,
            concept: e.concept.as_str(),
            severity: e.severity.as_str(),
            state: e.state.as_str(),
            rule_id: e.rule.to_string(),
            raised_at: api.time(e.raised_at),
            level: e.level,
            cycle: e.cycle,
            next_at: e.next_at.map(|t| api.time(t)),
            due_at: due_at.map(|t| api.time(t)),
            due: due_at.is_some_and(|t| t <= api.now()),
            count: e.count,
            owner: e.owner,
            owner_name: api.name_of(e.owner),
            exhausted: e.exhausted,
            snoozed_until: e.snoozed_until.map(|t| api.time(t)),
            held_until: e.held_until.map(|t| api.time(t)),
            inhibited_by: e.inhibited_by,
            previous_id: e.previous,
            doubtful: None,
        }
    }
}

/// A message to one person on one channel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryView {
    /// The `webhook-id`.
    id: String,
    #[schema(value_type = Option<String>)]
    alert_id: Option<AlertId>,
    /// `alert.notification`, …
    #[serde(rename = "type")]
    kind: String,
    channel: String,
    #[schema(value_type = Option<String>)]
    user_id: Option<UserId>,
    user_name: Option<String>,
    address: String,
    level: u32,
    cycle: u32,
    attempts: u32,
    state: &'static str,
    created_at: String,
    provider_word: Option<String>,
}

impl DeliveryView {
    pub(crate) fn new(api: &Inner, d: &Delivery) -> Self {
        Self {
            id: d.id.clone(),
            alert_id: d.alert,
            kind: d.kind.clone(),
            channel: d.channel.clone(),
            user_id: d.user,
            user_name: api.name_of(d.user),
            address: d.address.clone(),
            level: d.level,
            cycle: d.cycle,
            attempts: d.attempts,
            state: d.state.as_str(),
            created_at: api.time(d.created_at),
            provider_word: d.provider_word.clone(),
        }
    }
}

/// What a rule concluded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FindingView {
    #[schema(value_type = String)]
    pub(crate) id: FindingId,
    rule_id: String,
    rule_version: u32,
    concept: &'static str,
    severity: &'static str,
    verdict: &'static str,
    at: String,
    effective_at: String,
    recipients: Vec<&'static str>,
    closes: bool,
    #[schema(value_type = Option<String>)]
    alert_id: Option<AlertId>,
    #[schema(value_type = Vec<String>)]
    reading_ids: Vec<ReadingId>,
    #[schema(value_type = Vec<Object>)]
    excluded: Vec<vitals::Excluded>,
    retracted_at: Option<String>,
    /// Numbers, limits and where each came from, guideline, what would clear it.
    #[schema(value_type = Object)]
    evidence: Option<Box<RawValue>>,
}

impl FindingView {
    pub(crate) fn new(api: &Inner, f: Finding) -> Self {
        let draft = f.draft;
        Self {
            id: f.id,
            rule_id: draft.rule.to_string(),
            rule_version: draft.rule_version,
            concept: draft.concept.as_str(),
            severity: draft.severity.as_str(),
            verdict: draft.verdict.as_str(),
            at: api.time(draft.at),
            effective_at: api.time(draft.effective_at),
            recipients: draft.recipients.iter().map(|r| r.as_str()).collect(),
            closes: draft.closes,
            alert_id: f.alert,
            reading_ids: draft.readings,
            excluded: draft.excluded,
            retracted_at: f.retracted_at.map(|t| api.time(t)),
            evidence: RawValue::from_string(draft.evidence).ok(),
        }
    }
}

/// A device, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceView {
    id: String,
    kind: String,
    model: Option<String>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    revoked: bool,
}

impl DeviceView {
    pub(crate) fn new(d: &Device) -> Self {
        let kind = match d.kind {
            DeviceKind::Meter => d.label.clone().unwrap_or_else(|| "meter".into()),
            DeviceKind::Gateway => "gateway".into(),
            DeviceKind::Kiosk => "kiosk".into(),
            DeviceKind::Service => "service".into(),
        };
        Self { id: d.id.to_string(), kind, model: d.model.clone(), organisation_id: d.organisation, revoked: d.revoked }
    }
}

/// Who wore a device from when to when.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BindingView {
    #[schema(value_type = String)]
    pub(crate) id: BindingId,
    #[schema(value_type = String)]
    pub(crate) patient_id: PatientId,
    pub(crate) user_slot: Option<u8>,
    pub(crate) from: String,
    pub(crate) to: Option<String>,
    pub(crate) recorded_at: String,
}

/// Region, centre or station.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrganisationView {
    #[schema(value_type = String)]
    id: OrganisationId,
    name: String,
    #[schema(value_type = String)]
    kind: store::OrganisationKind,
    #[schema(value_type = Option<String>)]
    parent_id: Option<OrganisationId>,
    #[schema(value_type = Vec<String>)]
    duty: Vec<UserId>,
    #[schema(value_type = Option<Object>)]
    opening: Option<Box<RawValue>>,
}

impl OrganisationView {
    pub(crate) fn new(o: &Organisation) -> Self {
        Self {
            id: o.id,
            name: o.name.clone(),
            kind: o.kind,
            parent_id: o.parent,
            duty: o.duty.clone(),
            opening: o.opening.clone().and_then(|text| RawValue::from_string(text).ok()),
        }
    }
}

/// Somebody who logs in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserView {
    #[schema(value_type = String)]
    id: UserId,
    username: String,
    name: String,
    roles: Vec<&'static str>,
    #[schema(value_type = Option<String>)]
    organisation_id: Option<OrganisationId>,
    disabled: bool,
    must_change_password: bool,
    /// Only for those who may change them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    contacts: Option<Vec<Contact>>,
    locale: Option<String>,
    #[schema(value_type = Option<String>)]
    patient_id: Option<PatientId>,
    /// The teams they are a member of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    teams: Option<Vec<TeamName>>,
}

/// A team by name.
#[derive(Debug, Serialize)]
pub(crate) struct TeamName {
    id: TeamId,
    name: String,
}

impl UserView {
    pub(crate) fn new(u: &User, with_contacts: bool) -> Self {
        Self {
            id: u.id,
            username: u.username.clone(),
            name: u.name.clone(),
            roles: ROLES.iter().filter(|(role, _)| u.roles.contains(role)).map(|(_, word)| *word).collect(),
            organisation_id: u.organisation,
            disabled: u.disabled,
            must_change_password: u.must_change_password,
            contacts: with_contacts.then(|| u.contacts.clone()),
            locale: u.locale.clone(),
            patient_id: u.patient,
            teams: None,
        }
    }

    /// With the names of their teams.
    pub(crate) fn with_teams(mut self, api: &Inner) -> Self {
        let id = self.id;
        let mut teams: Vec<TeamName> = api
            .directory()
            .teams()
            .iter()
            .filter(|t| t.members.iter().any(|m| m.user_id == id))
            .map(|t| TeamName { id: t.id, name: t.name.clone() })
            .collect();
        teams.sort_by_key(|t| t.id);
        self.teams = Some(teams);
        self
    }
}

/// A family-doctor team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TeamView {
    #[schema(value_type = String)]
    id: TeamId,
    name: String,
    #[schema(value_type = String)]
    organisation_id: OrganisationId,
    #[schema(value_type = Vec<Object>)]
    members: Vec<store::Member>,
    /// Its own chain; null: the default.
    chain: Option<Vec<Vec<String>>>,
    /// Steps that are empty for some time of the next 14 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub(crate) warnings: Option<Vec<store::ChainWarning>>,
}

impl TeamView {
    pub(crate) fn new(t: &Team) -> Self {
        Self {
            id: t.id,
            name: t.name.clone(),
            organisation_id: t.organisation,
            members: t.members.clone(),
            chain: t.chain.clone(),
            warnings: None,
        }
    }
}
