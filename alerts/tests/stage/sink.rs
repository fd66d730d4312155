//! A web server that receives webhooks, checks their signatures, and may misbehave.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::{Arc, Mutex};

pub(crate) const SECRET: &str = "whsec_aGVhcnRoYmVhdC1hY2NlcHRhbmNlLXNlY3JldC0wMDA=";

/// An answer that does not come.
pub(crate) const NEVER: u16 = 0;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: serde_json::Value,
    pub(crate) signed: bool,
}

type Answer = Box<dyn Fn(&Message) -> u16 + Send>;

struct Inner {
    messages: Mutex<Vec<Message>>,
    answer: Mutex<Answer>,
}

#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

async fn hook(State(inner): State<Arc<Inner>>, headers: HeaderMap, bytes: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (id, stamp) = (header("webhook-id"), header("webhook-timestamp"));
    let key = STANDARD.decode(&SECRET[6..]).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{stamp}.").as_bytes());
    mac.update(&bytes);
    let signed = header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let message = Message { id, json: serde_json::from_slice(&bytes).unwrap(), bytes: bytes.to_vec(), signed };
    let status = (inner.answer.lock().unwrap())(&message);
    inner.messages.lock().unwrap().push(message);
    if status == NEVER {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(status).unwrap()
}

impl Sink {
    pub(crate) async fn open() -> Self {
        let inner = Arc::new(Inner { messages: Mutex::default(), answer: Mutex::new(Box::new(|_: &Message| 200)) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new().route("/hook", post(hook)).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, inner }
    }

    /// From now on answers so.
    pub(crate) fn answers(&self, answer: impl Fn(&Message) -> u16 + Send + 'static) {
        *self.inner.answer.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let all = self.inner.messages.lock().unwrap().clone();
        assert!(all.iter().all(|m| m.signed), "badly signed");
        all
    }

    /// Distinct messages of a type: address and level, in order of arrival.
    pub(crate) fn told(&self, kind: &str) -> Vec<(String, u64)> {
        let mut seen = std::collections::HashSet::new();
        let mut all: Vec<(String, u64)> = Vec::new();
        for m in self.messages() {
            if m.json["type"] == kind && seen.insert(m.id.clone()) {
                let data = &m.json["data"];
                let address = data["recipient"]["address"].as_str().unwrap().to_owned();
                all.push((address, data["level"].as_u64().unwrap_or(0)));
            }
        }
        all.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        all
    }

    /// Forgets what came, answers what it was: notifications as `address level`.
    pub(crate) fn pages(&self) -> Vec<String> {
        let told = self.told("alert.notification").into_iter().map(|(a, l)| format!("{a} {l}")).collect();
        self.inner.messages.lock().unwrap().clear();
        told
    }
}
