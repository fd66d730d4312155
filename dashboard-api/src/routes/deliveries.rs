//! The messages that went out, for operations: every one with its state, and one sent again.

use crate::{
    cursor::{self, Page},
    dto::DeliveryView,
    extract::Params,
    problem::{Answer, Problem},
    state::{Api, Inner},
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use std::time::Duration;
use store::{Delivery, DeliveryState};
use utoipa::IntoParams;

/// A message that is sent again may be on its way for so long; after that it is as stale as any other.
const AGAIN_FOR: Duration = Duration::from_secs(3600);

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryQuery {
    /// `pending accepted delivered read failed_temp failed cancelled expired`.
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Every message, newest first.
#[utoipa::path(get, path = "/api/v1/deliveries", tag = "operations", params(DeliveryQuery),
    responses((status = 200, body = Page<DeliveryView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Params(query): Params<DeliveryQuery>,
) -> Answer<Json<Page<DeliveryView>>> {
    let limit = cursor::limit(query.limit)?;
    let state = match query.state.as_deref() {
        None => None,
        Some(word) => {
            Some(DeliveryState::parse(word).ok_or_else(|| Problem::bad("state: one of the delivery states"))?)
        }
    };
    let after: Option<String> = cursor::read(query.cursor.as_deref())?;
    let rows = api.store.deliveries(state, after, limit + 1).await?;
    let page = cursor::page(rows, limit, |d| d.id.clone());
    let items = page.items.iter().map(|d| DeliveryView::new(&api, d)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Sends a message that failed once more, under its old key; 409 with the state when it is on its way, was taken, came too
/// late, or is not wanted any more.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "operations",
    params(("id" = String, Path, description = "the delivery's key")),
    responses((status = 200, body = DeliveryView), (status = 409)))]
pub(super) async fn retry(State(api): State<Api>, Path(id): Path<String>) -> Answer<Json<DeliveryView>> {
    let found = api.store.delivery(id.clone()).await?.ok_or_else(Problem::not_found)?;
    if let Some(why) = not_again(&api, &found).await? {
        return Err(Problem::conflict(why).with("state", found.state.as_str()));
    }
    let now = api.now();
    api.store.outbox_retry(id.clone(), now, now.plus(AGAIN_FOR)).await?;
    let again = api.store.delivery(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(DeliveryView::new(&api, &again)))
}

/// Why it is not sent again: nobody is called twice for what was taken, nor late for what is in hand.
async fn not_again(api: &Inner, found: &Delivery) -> Answer<Option<String>> {
    use DeliveryState as S;
    let why = match found.state {
        S::FailedTemp | S::Failed => return outdated(api, found).await,
        S::Accepted => "the message is accepted: its channel took it, and it would be heard twice",
        S::Expired => "the message is expired: it came too late, and what is to be told now is told by newer ones",
        state => return Ok(Some(format!("the message is {}", state.as_str()))),
    };
    Ok(Some(why.to_owned()))
}

/// A call for an alert that somebody has taken since, or that calls anew.
async fn outdated(api: &Inner, found: &Delivery) -> Answer<Option<String>> {
    let Some(alert) = found.alert.filter(|_| found.kind == "alert.notification") else { return Ok(None) };
    let episode = api.store.episode(alert).await?;
    Ok(match episode.filter(|e| !e.state.is_unacknowledged() || e.cycle != found.cycle) {
        Some(e) if e.state.is_unacknowledged() => Some("the alert has called anew since".to_owned()),
        Some(e) => Some(format!("the alert is {}", e.state.as_str())),
        None => None,
    })
}
