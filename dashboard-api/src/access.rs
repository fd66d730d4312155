//! Who may call what: one table over every route. What is not in it is nobody's.
//!
//! A record's own rule (whose patient, whose team) is `scope`'s. The guard reads this table before any handler runs.

use axum::http::Method;
use store::Role;

/// A set of roles.
pub(crate) type Roles = u16;

pub(crate) const fn bit(role: Role) -> Roles {
    1 << role as u16
}

pub(crate) fn bits(roles: &[Role]) -> Roles {
    roles.iter().fold(0, |all, role| all | bit(*role))
}

/// Every role by its word, for the audit and the tests.
pub(crate) const ROLES: [(Role, &str); 9] = [
    (Role::Gp, "gp"),
    (Role::Specialist, "specialist"),
    (Role::HealthManager, "health_manager"),
    (Role::Assistant, "assistant"),
    (Role::StationAdmin, "station_admin"),
    (Role::RegionAdmin, "region_admin"),
    (Role::Ops, "ops"),
    (Role::Auditor, "auditor"),
    (Role::Patient, "patient"),
];

const ADMINS: Roles = bit(Role::StationAdmin) | bit(Role::RegionAdmin);
const DOCTORS: Roles = bit(Role::Gp) | bit(Role::HealthManager);
const TEAM: Roles = DOCTORS | bit(Role::Specialist) | bit(Role::Assistant);
const STAFF: Roles = TEAM | ADMINS;
const GP: Roles = bit(Role::Gp);
/// Who answers for rules: the medical lead (a specialist) and the administrators. `routes/rules/rights.rs` narrows it.
const LEADS: Roles = ADMINS | bit(Role::Specialist);
const PATIENT: Roles = bit(Role::Patient);
const ASSISTANT: Roles = bit(Role::Assistant);
const OPS: Roles = bit(Role::Ops);
const AUDITOR: Roles = bit(Role::Auditor);
const ANYONE: Roles = STAFF | PATIENT | OPS | AUDITOR;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// No login.
    Everybody,
    /// Whoever has one of these roles.
    Roles(Roles),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) who: Who,
    /// The audit's word for it; empty where nothing is written down.
    pub(crate) action: &'static str,
}

const fn open(method: &'static str, path: &'static str) -> Rule {
    Rule { method, path, who: Who::Everybody, action: "" }
}

const fn to(roles: Roles, method: &'static str, path: &'static str, action: &'static str) -> Rule {
    Rule { method, path, who: Who::Roles(roles), action }
}

/// Every route of the service.
#[rustfmt::skip]
pub(crate) const TABLE: &[Rule] = &[
    open("GET", "/livez"), open("GET", "/readyz"), open("GET", "/metrics"),
    open("GET", "/api/openapi.json"), open("GET", "/api/docs"),
    open("GET", "/test/clock"), open("POST", "/test/clock"),
    open("GET", "/api/v1/a/{token}"), open("POST", "/api/v1/a/{token}"),
    open("POST", "/api/v1/session"),
    to(ANYONE, "GET", "/api/v1/session", ""),
    to(ANYONE, "DELETE", "/api/v1/session", "session.close"),
    to(ANYONE, "POST", "/api/v1/session/password", "session.password"),

    to(STAFF, "GET", "/api/v1/organisations", ""),
    to(ADMINS, "POST", "/api/v1/organisations", "organisation.create"),
    to(STAFF, "GET", "/api/v1/organisations/{id}", ""),
    to(ADMINS, "PATCH", "/api/v1/organisations/{id}", "organisation.update"),
    to(STAFF, "GET", "/api/v1/users", ""),
    to(ADMINS, "POST", "/api/v1/users", "user.create"),
    to(STAFF, "GET", "/api/v1/users/{id}", ""),
    to(ADMINS, "PATCH", "/api/v1/users/{id}", "user.update"),
    to(STAFF, "GET", "/api/v1/teams", ""),
    to(ADMINS, "POST", "/api/v1/teams", "team.create"),
    to(STAFF, "GET", "/api/v1/teams/{id}", ""),
    to(ADMINS, "PATCH", "/api/v1/teams/{id}", "team.update"),
    to(STAFF, "GET", "/api/v1/on-call", ""),
    to(STAFF, "GET", "/api/v1/leave", ""), to(ADMINS, "POST", "/api/v1/leave", "leave.create"),
    to(STAFF, "GET", "/api/v1/overrides", ""), to(ADMINS, "POST", "/api/v1/overrides", "override.create"),
    to(STAFF, "GET", "/api/v1/rotas", ""), to(ADMINS, "POST", "/api/v1/rotas", "rota.create"),
    to(STAFF, "GET", "/api/v1/calendars", ""), to(ADMINS, "POST", "/api/v1/calendars", "calendar.create"),
    to(ADMINS, "POST", "/api/v1/import", "import"),

    to(STAFF | PATIENT, "GET", "/api/v1/patients", "patient.list"),
    to(ADMINS | DOCTORS, "POST", "/api/v1/patients", "patient.create"),
    to(STAFF | PATIENT, "GET", "/api/v1/patients/{id}", "patient.read"),
    to(ADMINS | DOCTORS, "PATCH", "/api/v1/patients/{id}", "patient.update"),
    to(bit(Role::RegionAdmin), "POST", "/api/v1/patients/{id}/erase", "patient.erase"),
    to(STAFF | PATIENT, "GET", "/api/v1/patients/{id}/plan", "plan.read"),
    to(ADMINS | DOCTORS, "PUT", "/api/v1/patients/{id}/plan", "plan.update"),
    to(STAFF | PATIENT, "GET", "/api/v1/patients/{id}/readings", "readings.read"),
    to(STAFF | PATIENT, "GET", "/api/v1/patients/{id}/summary", "readings.read"),
    to(STAFF | PATIENT, "GET", "/api/v1/patients/{id}/findings", "findings.read"),
    to(STAFF | PATIENT, "GET", "/api/v1/readings/{id}/original", "reading.original"),
    to(STAFF, "GET", "/api/v1/reports/population", "report.read"),
    to(STAFF, "GET", "/api/v1/reports/alerts", "report.read"),

    to(STAFF | OPS, "GET", "/api/v1/devices", "device.list"),
    to(STAFF | OPS, "GET", "/api/v1/devices/{id}", "device.read"),
    to(PATIENT, "POST", "/api/v1/devices/claim", "device.claim"),
    to(ADMINS | DOCTORS | ASSISTANT | OPS, "POST", "/api/v1/devices/{id}/commands", "device.command"),
    to(ADMINS | ASSISTANT | OPS, "POST", "/api/v1/devices", "device.create"),
    to(ADMINS | ASSISTANT | OPS, "POST", "/api/v1/devices/{id}/certificate", "device.certificate"),
    to(ADMINS | ASSISTANT | OPS, "DELETE", "/api/v1/devices/{id}/credential", "device.revoke"),
    to(STAFF, "GET", "/api/v1/devices/{id}/bindings", "binding.list"),
    to(ADMINS | DOCTORS | ASSISTANT, "POST", "/api/v1/devices/{id}/bindings", "binding.create"),
    to(ADMINS | DOCTORS | ASSISTANT, "PATCH", "/api/v1/devices/{id}/bindings/{bid}", "binding.update"),
    to(ADMINS | DOCTORS | ASSISTANT, "POST", "/api/v1/kiosks/{id}/sessions", "kiosk.open"),
    to(ADMINS | DOCTORS | ASSISTANT, "DELETE", "/api/v1/kiosks/{id}/sessions", "kiosk.close"),
    to(ADMINS | ASSISTANT | OPS, "GET", "/api/v1/gateways/{id}/devices", "gateway.list"),
    to(ADMINS | ASSISTANT | OPS, "PUT", "/api/v1/gateways/{id}/devices", "gateway.update"),
    to(ADMINS | DOCTORS, "GET", "/api/v1/unassigned", "unassigned.list"),
    to(ADMINS | DOCTORS, "POST", "/api/v1/unassigned/{id}/assign", "unassigned.assign"),
    to(ADMINS | DOCTORS | OPS, "GET", "/api/v1/quarantine", "quarantine.list"),
    to(ADMINS | DOCTORS | OPS, "POST", "/api/v1/quarantine/{id}/discard", "quarantine.discard"),
    to(ADMINS | DOCTORS | OPS, "POST", "/api/v1/quarantine/{id}/replay", "quarantine.replay"),

    to(STAFF, "GET", "/api/v1/alerts", "alert.list"),
    to(STAFF, "GET", "/api/v1/alerts/{id}", "alert.read"),
    to(STAFF, "POST", "/api/v1/alerts/{id}/{action}", "alert.act"),
    to(STAFF, "POST", "/api/v1/alerts:bulk", "alert.bulk"),
    to(OPS, "GET", "/api/v1/deliveries", "delivery.list"),
    to(OPS, "POST", "/api/v1/deliveries/{id}/retry", "delivery.retry"),
    to(STAFF | OPS, "GET", "/api/v1/rules", ""),
    to(STAFF | OPS, "GET", "/api/v1/rules/{id}", ""),
    to(LEADS | GP, "PUT", "/api/v1/rules/{id}", "rule.draft"),
    to(LEADS, "POST", "/api/v1/rules/{id}/approve", "rule.approve"),
    to(LEADS, "POST", "/api/v1/rules/{id}/rollback", "rule.rollback"),
    to(LEADS | GP, "POST", "/api/v1/rules/{id}/withdraw", "rule.withdraw"),
    to(LEADS | DOCTORS, "POST", "/api/v1/rules:rehearse", "rule.rehearse"),

    to(STAFF | OPS | PATIENT, "GET", "/api/v1/stream", "stream.open"),
    to(OPS, "GET", "/api/v1/ops/pipeline", ""),
    to(STAFF | OPS, "GET", "/api/v1/ops/trail/{id}", "trail.read"),
    // The handler narrows the region's administrators to the installation's first.
    to(AUDITOR | bit(Role::RegionAdmin), "GET", "/api/v1/audit", "audit.read"),
];

/// The line for a route; `HEAD` is `GET`.
pub(crate) fn rule(method: &Method, path: &str) -> Option<&'static Rule> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    TABLE.iter().find(|rule| rule.method == method && rule.path == path)
}

/// The roles' words, joined by a space.
pub(crate) fn words(roles: Roles) -> String {
    let all: Vec<&str> = ROLES.iter().filter(|(role, _)| roles & bit(*role) != 0).map(|(_, word)| *word).collect();
    all.join(" ")
}
