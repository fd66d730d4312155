//! What a person tells a device: the commands of the contract, each with an end after which it is not sent.

use crate::{
    extract::{self, Body, Id},
    guard::Made,
    password,
    problem::{Answer, Problem},
    scope::Caller,
    state::{Api, Inner},
};
use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use store::{DeviceCommand, Role};
use utoipa::ToSchema;
use vitals::{Kind, Timestamp};

/// A text stands on a small screen.
const LONGEST_TEXT: usize = 200;
/// Bytes of a device's settings.
const LONGEST_CONFIG: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What a device is told.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Time,
    Config,
    Resend,
    Remeasure,
    Reminder,
    Message,
}

/// A command.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CommandInput {
    r#type: What,
    /// Without it: a minute for `time`, a day for everything else. Texts may not wait longer than a day: another person
    /// may wear the device by then.
    expires_at: Option<String>,
    /// Of `reminder` and `message`: up to 200 characters, no name.
    text: Option<String>,
    /// Of `config`: the device's own settings, passed on as they are.
    #[schema(value_type = Option<Object>)]
    settings: Option<Map<String, Value>>,
    /// Of `remeasure`: `blood_pressure` or `blood_glucose`.
    kind: Option<String>,
    /// Of `remeasure`: how often, 1 to 5.
    times: Option<u8>,
    /// Of `remeasure`: after how long, up to 3600.
    after_seconds: Option<u32>,
    /// Of `resend`: the first number.
    from: Option<u32>,
    /// Of `resend`: the last number.
    to: Option<u32>,
}

/// What waits for the device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandMade {
    id: String,
    expires_at: String,
}

/// Tells a device something: at least once, until it acknowledges or the command expires.
#[utoipa::path(post, path = "/api/v1/devices/{id}/commands", tag = "devices", request_body = CommandInput,
    responses((status = 202, body = CommandMade), (status = 404), (status = 422)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<String>,
    Body(input): Body<CommandInput>,
) -> Answer<Response> {
    let speaks_to_people = matches!(input.r#type, What::Reminder | What::Message | What::Remeasure);
    let device = match caller.scope.device(&id) {
        Err(_) if caller.is(Role::Ops) && !speaks_to_people => {
            api.directory().device(&id).ok_or_else(Problem::not_found)?
        }
        found => found?,
    };
    let may_speak = [Role::Gp, Role::HealthManager, Role::Assistant].into_iter().any(|role| caller.is(role));
    if speaks_to_people && !may_speak && !caller.is_admin() {
        return Err(Problem::forbidden());
    }
    let now = api.now();
    let usual = if input.r#type == What::Time { MINUTE } else { DAY };
    let asked = extract::moment("expiresAt", input.expires_at.as_deref())?;
    let expires_at = asked.unwrap_or_else(|| now.plus(usual));
    if expires_at <= now {
        return Err(Problem::invalid("expiresAt", "later than now"));
    }
    if speaks_to_people && expires_at > now.plus(DAY) {
        return Err(Problem::invalid("expiresAt", "within a day: somebody else may wear the device by then"));
    }
    let random = password::secret().map_err(|_| Problem::busy("the system gives no random numbers"))?;
    let command_id = format!("said-{}-{}", now.as_micros(), &random[..8]);
    let mut body = members(&input, now, &api)?;
    let (shown, zone) = (api.time(expires_at), api.zone());
    body.insert("v".into(), json!(1));
    body.insert("id".into(), json!(command_id));
    body.insert("expiresAt".into(), json!(expires_at.to_rfc3339(zone)));
    let command =
        DeviceCommand { id: command_id.clone(), device: device.key, body: Value::Object(body).to_string(), expires_at };
    api.store.queue_command(command).await?;
    let made = CommandMade { id: command_id, expires_at: shown };
    Ok((StatusCode::ACCEPTED, Extension(Made(device.id.to_string())), Json(made)).into_response())
}

/// The members of this type, and none of another.
fn members(input: &CommandInput, now: Timestamp, api: &Inner) -> Answer<Map<String, Value>> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| _ = body.insert(name.into(), value);
    let word = match input.r#type {
        What::Time => {
            put("now", json!(now.to_rfc3339(api.zone())));
            "time"
        }
        What::Config => {
            let settings = input.settings.as_ref().ok_or_else(|| Problem::invalid("settings", "an object"))?;
            if Value::Object(settings.clone()).to_string().len() > LONGEST_CONFIG {
                return Err(Problem::invalid("settings", "at most 4096 bytes"));
            }
            put("settings", Value::Object(settings.clone()));
            "config"
        }
        What::Resend => {
            let (Some(from), Some(to)) = (input.from, input.to) else {
                return Err(Problem::invalid("from, to", "the first and the last number"));
            };
            if from > to {
                return Err(Problem::invalid("to", "not below from"));
            }
            put("from", json!(from));
            put("to", json!(to));
            "resend"
        }
        What::Remeasure => {
            let kind = input.kind.as_deref().and_then(Kind::parse);
            let kind = kind.ok_or_else(|| Problem::invalid("kind", "blood_pressure or blood_glucose"))?;
            let (times, after) = (input.times.unwrap_or(1), input.after_seconds.unwrap_or(0));
            if !(1..=5).contains(&times) || after > 3600 {
                return Err(Problem::invalid("times, afterSeconds", "1 to 5 times, after 0 to 3600 seconds"));
            }
            put("kind", json!(kind.as_str()));
            put("times", json!(times));
            put("afterSeconds", json!(after));
            "remeasure"
        }
        What::Reminder | What::Message => {
            let text = input.text.as_deref().map(str::trim).filter(|t| !t.is_empty());
            let text = text.filter(|t| t.chars().count() <= LONGEST_TEXT);
            put("text", json!(text.ok_or_else(|| Problem::invalid("text", "1 to 200 characters, no name"))?));
            if input.r#type == What::Reminder { "reminder" } else { "message" }
        }
    };
    put("type", json!(word));
    Ok(body)
}
