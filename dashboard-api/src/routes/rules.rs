//! The cards in force.

use super::organisations::Paging;
use crate::{
    cursor::Page,
    extract::{Id, Params},
    problem::{Answer, Problem},
    state::Api,
};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use store::CardRecord;
use utoipa::ToSchema;

/// A card, as it stands in its file.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
#[serde(transparent)]
pub(super) struct CardView(Box<RawValue>);

fn view(card: CardRecord) -> Answer<CardView> {
    RawValue::from_string(card.body).map(CardView).map_err(|_| Problem::not_found())
}

/// Every card in force.
#[utoipa::path(get, path = "/api/v1/rules", tag = "rules", params(Paging), responses((status = 200, body = Page<CardView>)))]
pub(super) async fn list(State(api): State<Api>, Params(paging): Params<Paging>) -> Answer<Json<Page<CardView>>> {
    let page = paging.page(api.store.cards().await?, |c: &CardRecord| c.id.clone())?;
    let items = page.items.into_iter().map(view).collect::<Answer<_>>()?;
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// One.
#[utoipa::path(get, path = "/api/v1/rules/{id}", tag = "rules", responses((status = 200, body = CardView)))]
pub(super) async fn read(State(api): State<Api>, Id(id): Id<String>) -> Answer<Response> {
    let card = api.store.cards().await?.into_iter().find(|c| c.id == id).ok_or_else(Problem::not_found)?;
    let version = crate::extract::etag(i64::from(card.version));
    Ok(([(header::ETAG, version)], Json(view(card)?)).into_response())
}
