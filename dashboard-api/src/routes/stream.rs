//! The live stream: ids of what has just happened, within the caller's scope. Ends with the session and with the service.

use crate::{
    live::{Event, Missed},
    problem::Answer,
    scope::Caller,
    state::Api,
};
use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use store::Role;
use tokio::{sync::watch, time::Instant};

/// More than this at a time is told as `resync`: the page reads what it shows anew.
const BURST: usize = 200;
/// Pause after events, so that a busy minute reaches a page in handfuls. Real time: it decides nothing.
const GATHER: Duration = Duration::from_millis(100);
/// How often operations hear that figures have moved.
const FIGURES: Duration = Duration::from_secs(2);
/// A comment keeps proxies from closing a quiet stream; it also finds out that the session has ended.
const BEAT: Duration = Duration::from_secs(15);

struct Watcher {
    api: Api,
    caller: Caller,
    seen: u64,
    news: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    ready: VecDeque<sse::Event>,
    figures: Instant,
}

/// Server-sent events `reading`, `alert`, `pipeline`, `resync`; resumes by `Last-Event-ID`.
#[utoipa::path(get, path = "/api/v1/stream", tag = "stream", responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let news = api.hub.subscribe();
    let mut ready = VecDeque::new();
    let seen = match headers.get("last-event-id").and_then(|v| v.to_str().ok()) {
        None => api.hub.last(),
        Some(id) => api.hub.sequence(id).unwrap_or_else(|| {
            ready.push_back(resync(&api, api.hub.last()));
            api.hub.last()
        }),
    };
    let stopping = api.stopping.clone();
    let watcher = Watcher { api, caller, seen, news, stopping, ready, figures: Instant::now() };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(BEAT)))
}

fn resync(api: &Api, sequence: u64) -> sse::Event {
    sse::Event::default().event("resync").id(api.hub.id(sequence)).data("{}")
}

impl Watcher {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if *self.stopping.borrow() || self.api.sessions.user_of(self.caller.session).is_none() {
                return None;
            }
            self.gather().await;
            if !self.ready.is_empty() {
                tokio::time::sleep(GATHER).await;
                continue;
            }
            if self.caller.is(Role::Ops) && self.figures.elapsed() >= FIGURES {
                self.figures = Instant::now();
                let at = self.api.time(self.api.now());
                return Some(sse::Event::default().event("pipeline").data(format!("{{\"asOf\":\"{at}\"}}")));
            }
            let beat = if self.caller.is(Role::Ops) { FIGURES } else { BEAT };
            tokio::select! {
                more = self.news.changed() => if more.is_err() { return None },
                _ = self.stopping.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep(beat) => {}
            }
        }
    }

    async fn gather(&mut self) {
        self.news.borrow_and_update();
        match self.api.hub.after(self.seen, BURST) {
            Missed::TooMuch => {
                self.seen = self.api.hub.last();
                self.ready.push_back(resync(&self.api, self.seen));
            }
            Missed::Events(events) => {
                for event in events {
                    self.seen = event.sequence;
                    if self.may_see(&event).await {
                        let id = self.api.hub.id(event.sequence);
                        self.ready.push_back(sse::Event::default().event(event.name).id(id).data(&event.data));
                    }
                }
            }
        }
    }

    async fn may_see(&self, event: &Event) -> bool {
        if self.caller.scope.sees_id(event.patient) {
            return event.alert.is_none() || !self.caller.is(Role::Patient) || self.caller.is_staff();
        }
        let Some(alert) = event.alert else { return false };
        self.api.store.was_called(alert, self.caller.user.id).await.unwrap_or(false)
    }
}
