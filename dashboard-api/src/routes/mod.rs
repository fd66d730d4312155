//! Every route, by subject. A handler reads its input, asks the scope, asks or tells the store, writes its answer.

mod alert_acts;
mod alert_report;
mod alerts;
mod audit;
mod bindings;
mod commands;
mod deliveries;
mod devices;
mod edge;
mod erase;
mod link;
mod ops;
mod organisations;
mod pages;
mod patients;
mod plan;
mod quarantine;
mod readings;
mod reports;
mod roster;
mod rules;
mod session;
mod stream;
mod summary;
mod teams;
mod test_clock;
mod users;
mod way;

pub(crate) use pages::pages;

use crate::{admin::AdminError, problem::Problem, state::Api};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Every route that the OpenAPI document describes.
pub(crate) fn all() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(session::open, session::who, session::close))
        .routes(routes!(session::change_password))
        .routes(routes!(organisations::list, organisations::create))
        .routes(routes!(organisations::read, organisations::update))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::read, users::update))
        .routes(routes!(teams::list, teams::create))
        .routes(routes!(teams::read, teams::update))
        .routes(routes!(roster::on_call))
        .routes(routes!(roster::leaves, roster::create_leave))
        .routes(routes!(roster::overrides, roster::create_override))
        .routes(routes!(roster::rotas, roster::create_rota))
        .routes(routes!(roster::calendars, roster::create_calendar))
        .routes(routes!(ops::import))
        .routes(routes!(patients::list, patients::create))
        .routes(routes!(patients::read, patients::update))
        .routes(routes!(erase::erase))
        .routes(routes!(plan::read, plan::replace))
        .routes(routes!(readings::list))
        .routes(routes!(summary::read))
        .routes(routes!(readings::findings))
        .routes(routes!(readings::original))
        .routes(routes!(reports::population))
        .routes(routes!(alert_report::alerts))
        .merge(devices_and_alerts())
}

fn devices_and_alerts() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::read))
        .routes(routes!(devices::claim))
        .routes(routes!(devices::certify))
        .routes(routes!(commands::create))
        .routes(routes!(devices::revoke))
        .routes(routes!(bindings::list, bindings::create))
        .routes(routes!(bindings::update))
        .routes(routes!(quarantine::unassigned))
        .routes(routes!(quarantine::assign))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::discard))
        .routes(routes!(quarantine::replay))
        .routes(routes!(edge::open, edge::close))
        .routes(routes!(edge::allowed, edge::allow))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::read))
        .routes(routes!(alert_acts::act))
        .routes(routes!(alert_acts::bulk))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::retry))
        .routes(routes!(link::show, link::follow))
        .routes(routes!(rules::list))
        .routes(routes!(rules::read, rules::edit::draft))
        .routes(routes!(rules::edit::approve))
        .routes(routes!(rules::edit::roll_back))
        .routes(routes!(rules::edit::withdraw))
        .routes(routes!(rules::rehearse::rehearse))
        .routes(routes!(stream::stream))
        .routes(routes!(ops::pipeline))
        .routes(routes!(way::trail))
        .routes(routes!(audit::list))
        .routes(routes!(ops::live))
        .routes(routes!(ops::ready))
        .routes(routes!(ops::metrics))
        .routes(routes!(test_clock::read, test_clock::advance))
        .routes(routes!(pages::document))
        .routes(routes!(pages::docs))
}

impl From<AdminError> for Problem {
    fn from(e: AdminError) -> Self {
        match e {
            AdminError::Invalid { field, remedy } => Self::invalid(field, remedy),
            AdminError::Hash(_) => Self::busy("the system gives no random numbers"),
            AdminError::Store(e) => e.into(),
        }
    }
}
