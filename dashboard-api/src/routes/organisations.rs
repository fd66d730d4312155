//! Regions, centres, stations.

use super::roster::somebody;
use crate::{
    admin,
    cursor::{self, Page},
    dto::OrganisationView,
    extract::{self, Body, Id, Params},
    guard::Made,
    problem::{Answer, Problem},
    scope::Caller,
    state::Api,
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Organisation, OrganisationKind};
use utoipa::{IntoParams, ToSchema};
use vitals::{OrganisationId, UserId};

/// Paging only.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Paging {
    /// A page of rows that are already in memory, by their id.
    pub(super) fn page<T, K>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Answer<Page<T>>
    where
        K: Ord + serde::Serialize + serde::de::DeserializeOwned,
    {
        let limit = cursor::limit(self.limit)?;
        let after: Option<K> = cursor::read(self.cursor.as_deref())?;
        rows.sort_by_key(&key);
        rows.retain(|row| after.as_ref().is_none_or(|after| key(row) > *after));
        Ok(cursor::page(rows, limit, key))
    }
}

/// An organisation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewOrganisation {
    name: String,
    #[schema(value_type = String)]
    kind: OrganisationKind,
    #[schema(value_type = Option<String>)]
    parent_id: Option<OrganisationId>,
    /// Called when a step asks for this organisation's duty desk.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    duty: Vec<UserId>,
    #[schema(value_type = Option<Object>)]
    opening: Option<Box<RawValue>>,
}

/// What may be changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrganisationPatch {
    name: Option<String>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<String>)]
    parent_id: Option<Option<OrganisationId>>,
    #[schema(value_type = Option<Vec<String>>)]
    duty: Option<Vec<UserId>>,
    #[serde(default, deserialize_with = "extract::given")]
    #[schema(value_type = Option<Object>)]
    opening: Option<Option<Box<RawValue>>>,
}

/// `opening`: what the desk of the alerts can read, and nothing else, or else the usual hours would hold unnoticed.
#[derive(Deserialize)]
struct Opening {
    from: String,
    to: String,
    days: Option<Vec<String>>,
}

/// As it is kept.
fn hours(given: &RawValue) -> Answer<String> {
    const WEEK: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let form = r#"null or as {"from": "08:00", "to": "17:30", "days": ["mon", "tue"]}; without days the usual ones"#;
    let asked: Opening = serde_json::from_str(given.get()).map_err(|_| Problem::invalid("opening", form))?;
    for (field, text) in [("opening.from", &asked.from), ("opening.to", &asked.to)] {
        if !is_time(text) {
            return Err(Problem::invalid(field, "a time of day such as 08:00"));
        }
    }
    if asked.from >= asked.to {
        return Err(Problem::invalid("opening.to", "later than from, on the same day"));
    }
    if asked.days.is_some_and(|days| days.is_empty() || days.iter().any(|d| !WEEK.contains(&d.as_str()))) {
        return Err(Problem::invalid("opening.days", format!("one or more of {}", WEEK.join(" "))));
    }
    Ok(given.get().to_owned())
}

/// `HH:MM`.
fn is_time(text: &str) -> bool {
    let digits = text.bytes().enumerate().all(|(i, b)| if i == 2 { b == b':' } else { b.is_ascii_digit() });
    text.len() == 5 && digits && text < "24:00" && &text[3..] < "60"
}

fn shown(status: StatusCode, o: &Organisation) -> Response {
    (
        status,
        [(header::ETAG, extract::etag(o.version))],
        Extension(Made(o.id.to_string())),
        Json(OrganisationView::new(o)),
    )
        .into_response()
}

/// Every organisation that the caller knows.
#[utoipa::path(get, path = "/api/v1/organisations", tag = "organisation", params(Paging),
    responses((status = 200, body = Page<OrganisationView>)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Json<Page<OrganisationView>>> {
    let rows = api.directory().organisations().into_iter().filter(|o| caller.scope.knows(o.id)).collect();
    let page = paging.page(rows, |o| o.id.as_i64())?;
    let items = page.items.iter().map(|o| OrganisationView::new(o)).collect();
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

/// Makes one.
#[utoipa::path(post, path = "/api/v1/organisations", tag = "organisation", request_body = NewOrganisation,
    responses((status = 201, body = OrganisationView)))]
pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(new): Body<NewOrganisation>,
) -> Answer<Response> {
    new.duty.iter().try_for_each(|user| somebody(&api, &caller, "duty", *user))?;
    let organisation = Organisation {
        id: OrganisationId::new(0),
        name: new.name,
        kind: new.kind,
        parent: new.parent_id,
        duty: new.duty,
        opening: new.opening.map(|o| hours(&o)).transpose()?,
        version: 0,
    };
    admin::check_organisation(&api.store, &organisation)?;
    match organisation.parent {
        Some(parent) if !caller.scope.governs(parent) => {
            return Err(Problem::invalid("parentId", "it is not within yours"));
        }
        None if !caller.scope.sees_all() => return Err(Problem::invalid("parentId", "give one that is within yours")),
        _ => {}
    }
    let made = api.store.create_organisation(organisation).await?;
    Ok(shown(StatusCode::CREATED, &made))
}

/// One.
#[utoipa::path(get, path = "/api/v1/organisations/{id}", tag = "organisation",
    responses((status = 200, body = OrganisationView)))]
pub(super) async fn read(caller: Caller, Id(id): Id<OrganisationId>) -> Answer<Response> {
    Ok(shown(StatusCode::OK, &*caller.scope.organisation(id)?))
}

/// Changes one; `If-Match` is honoured where it is sent.
#[utoipa::path(patch, path = "/api/v1/organisations/{id}", tag = "organisation", request_body = OrganisationPatch,
    responses((status = 200, body = OrganisationView), (status = 412)))]
pub(super) async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<OrganisationId>,
    headers: HeaderMap,
    Body(patch): Body<OrganisationPatch>,
) -> Answer<Response> {
    let mut organisation = Organisation::clone(&*caller.scope.governed(id)?);
    extract::if_match(&headers, organisation.version, false)?;
    if let Some(name) = patch.name {
        organisation.name = name;
    }
    if let Some(parent) = patch.parent_id.filter(|p| *p != organisation.parent) {
        if !parent.map_or(caller.scope.sees_all(), |p| caller.scope.governs(p)) {
            return Err(Problem::invalid("parentId", "it is not within yours"));
        }
        organisation.parent = parent;
    }
    if let Some(duty) = patch.duty {
        let new = duty.iter().filter(|u| !organisation.duty.contains(u));
        new.copied().try_for_each(|user| somebody(&api, &caller, "duty", user))?;
        organisation.duty = duty;
    }
    if let Some(opening) = patch.opening {
        organisation.opening = opening.map(|o| hours(&o)).transpose()?;
    }
    admin::check_organisation(&api.store, &organisation)?;
    let changed = api.store.update_organisation(organisation).await.map_err(stale)?;
    Ok(shown(StatusCode::OK, &changed))
}

/// A version that changed between reading and writing is a stale `If-Match`.
pub(super) fn stale(e: store::StoreError) -> Problem {
    match e {
        store::StoreError::Conflict(words) if words.contains("meanwhile") => Problem::stale(),
        e => e.into(),
    }
}
