//! The messages that went out, for operations: every one with its state, and one sent again.

use crate::{
    cursor::{self, Page},
    dto::DeliveryView,
    extract::Params,
    problem::{Answer, Problem},
    state::Api,
};
use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use std::time::Duration;
use store::DeliveryState;
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

/// Sends a message that did not arrive once more, under its old key; 409 with the state when it is on its way, has
/// arrived, or is not wanted any more.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "operations",
    params(("id" = String, Path, description = "the delivery's key")),
    responses((status = 200, body = DeliveryView), (status = 409)))]
pub(super) async fn retry(State(api): State<Api>, Path(id): Path<String>) -> Answer<Json<DeliveryView>> {
    use DeliveryState as S;
    let found = api.store.delivery(id.clone()).await?.ok_or_else(Problem::not_found)?;
    if !matches!(found.state, S::FailedTemp | S::Failed | S::Expired | S::Accepted) {
        let word = found.state.as_str();
        return Err(Problem::conflict(format!("the message is {word}")).with("state", word));
    }
    let now = api.now();
    api.store.outbox_retry(id.clone(), now, now.plus(AGAIN_FOR)).await?;
    let again = api.store.delivery(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(DeliveryView::new(&api, &again)))
}
