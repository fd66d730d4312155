//! The test clock: stands still until it is moved. Only with `--test-clock`, which refuses any address but loopback.

use crate::{
    extract::{Body, Moment},
    links::TestClockError,
    problem::{Answer, Problem},
    state::Api,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use vitals::Timestamp;

/// Where to.
#[derive(Deserialize, ToSchema)]
pub(super) struct Move {
    /// An ISO 8601 duration such as `PT10M`; `PT0S` too.
    advance: Option<String>,
    #[schema(value_type = Option<String>)]
    to: Option<Moment>,
}

/// What it shows.
#[derive(Serialize, ToSchema)]
pub(super) struct ClockView {
    now: String,
}

/// What it shows.
#[utoipa::path(get, path = "/test/clock", tag = "test", responses((status = 200, body = ClockView), (status = 404)))]
pub(super) async fn read(State(api): State<Api>) -> Answer<Json<ClockView>> {
    if api.links.test_clock.is_none() {
        return Err(Problem::not_found());
    }
    Ok(Json(ClockView { now: api.time(api.now()) }))
}

/// Waits until everything acknowledged is evaluated, runs what is due in order of time, answers when it is handed over.
#[utoipa::path(post, path = "/test/clock", tag = "test", request_body = Move,
    responses((status = 200, body = ClockView), (status = 404), (status = 409)))]
pub(super) async fn advance(State(api): State<Api>, Body(to): Body<Move>) -> Answer<Json<ClockView>> {
    let Some(clock) = &api.links.test_clock else { return Err(Problem::not_found()) };
    let target = match (to.advance, to.to) {
        (Some(text), None) => {
            let by =
                duration(&text).ok_or_else(|| Problem::invalid("advance", "an ISO 8601 duration such as PT10M"))?;
            api.now().plus(by)
        }
        (None, Some(Moment(at))) => at,
        _ => return Err(Problem::bad("give either advance or to")),
    };
    clock(target).await.map_err(|e| match e {
        TestClockError::Backwards => Problem::conflict(e.to_string()),
        TestClockError::Stuck(words) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stuck", words),
    })?;
    let now: Timestamp = api.now();
    Ok(Json(ClockView { now: api.time(now) }))
}

/// `P[nW][nD][T[nH][nM][n[.n]S]]`; months and years have no fixed length.
fn duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').map_or((rest, None), |(d, t)| (d, Some(t)));
    let mut seconds = parts(days, &[('W', 604_800.0), ('D', 86_400.0)])?;
    if let Some(time) = time {
        if time.is_empty() {
            return None;
        }
        seconds += parts(time, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])?;
    }
    if rest.is_empty() {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

fn parts(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut seconds = 0.0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = text[..end].parse().ok()?;
        let unit = text[end..].chars().next()?;
        let (_, each) = units.find(|(name, _)| *name == unit)?;
        seconds += number * each;
        text = &text[end + 1..];
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_iso_8601() {
        for (text, seconds) in [
            ("PT10M", 600),
            ("PT0S", 0),
            ("PT9M59S", 599),
            ("P1DT2H", 93_600),
            ("PT86400S", 86_400),
            ("P2W", 1_209_600),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "P", "PT", "10M", "PT5", "PT5M3H", "P1Y", "PT-5M", "PTM"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        assert_eq!(duration("PT0.5S"), Some(Duration::from_millis(500)));
    }
}
