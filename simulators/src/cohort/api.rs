//! The service's HTTP interface as far as a cohort needs it: log in, ask, page through lists, move the test clock.
//!
//! Goes in: an address on loopback, a login. Comes out: JSON. Must never: talk to another machine, print a secret.

use crate::Error;
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use vitals::{Timestamp, Zone};

/// Who logs in; as `hearthbeat init --json` prints it.
#[derive(Clone, Deserialize)]
pub struct Login {
    username: String,
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    /// From words.
    pub(super) fn new(username: &str, password: &str) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    /// From a file.
    ///
    /// # Errors
    /// When it cannot be read or is no login.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(Error::io(&*name))?;
        serde_json::from_str(&text).map_err(|_| {
            Error::Input(format!("{name}: expected {{\"username\": …, \"password\": …}}, as init --json prints it"))
        })
    }
}

/// One logged-in caller.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    base: Url,
    login: Login,
    /// A session ends by the service's clock, and a test clock makes days of it at once: then it is begun anew.
    token: std::sync::Arc<std::sync::Mutex<String>>,
}

type Body = Option<(Vec<u8>, &'static str)>;

impl Api {
    /// Logs in. Only loopback is talked to: a cohort's readings must never reach people.
    pub(super) async fn log_in(base: &str, login: &Login) -> Result<Self, Error> {
        let base: Url = base
            .parse()
            .map_err(|_| Error::Input(format!("{base:?} is no address: expected http://127.0.0.1:port")))?;
        let host = base.host_str().unwrap_or_default();
        if !matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
            return Err(Error::Input(format!("{host}: virtual patients are sent to loopback only")));
        }
        // Nothing here speaks TLS, and still the client asks for a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .timeout(std::time::Duration::from_secs(120))
            .build()
            .map_err(|e| Error::Input(format!("the HTTP client cannot start: {e}")))?;
        let this = Self { client, base, login: login.clone(), token: std::sync::Arc::default() };
        this.begin().await?;
        Ok(this)
    }

    async fn begin(&self) -> Result<(), Error> {
        let session = json!({"username": self.login.username, "password": self.login.password});
        let body = Some((session.to_string().into_bytes(), "application/json"));
        let (_, answer, _) = self.once(Method::POST, "/api/v1/session", body, None).await?;
        if let Ok(mut token) = self.token.lock() {
            *token = answer["token"].as_str().unwrap_or_default().to_owned();
        }
        Ok(())
    }

    async fn send(&self, method: Method, path: &str, body: Body, etag: Option<&str>) -> Result<(Value, String), Error> {
        let mut answer = self.once(method.clone(), path, body.clone(), etag).await?;
        if answer.0 == StatusCode::UNAUTHORIZED {
            self.begin().await?;
            answer = self.once(method.clone(), path, body, etag).await?;
        }
        let (status, value, etag) = answer;
        if !status.is_success() {
            let why = value["detail"].as_str().or(value["title"].as_str()).unwrap_or("-");
            let source = std::io::Error::other(format!("{status}: {why}"));
            return Err(Error::Io { what: format!("{method} {path}"), source });
        }
        Ok((value, etag))
    }

    /// One exchange, whatever its end.
    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Body,
        etag: Option<&str>,
    ) -> Result<(StatusCode, Value, String), Error> {
        let failed = |why: String| Error::Io { what: format!("{method} {path}"), source: std::io::Error::other(why) };
        let url = self.base.join(path).map_err(|e| failed(e.to_string()))?;
        let mut request = self.client.request(method.clone(), url);
        let token = self.token.lock().map(|t| t.clone()).unwrap_or_default();
        if !token.is_empty() && path != "/api/v1/session" {
            request = request.bearer_auth(token);
        }
        if let Some((bytes, kind)) = body {
            request = request.header("content-type", kind).body(bytes);
        }
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        let answer = request.send().await.map_err(|e| failed(e.without_url().to_string()))?;
        let status = answer.status();
        let etag = answer.headers().get("etag").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = answer.bytes().await.map_err(|e| failed(e.without_url().to_string()))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default(), etag))
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.send(Method::GET, path, None, None).await.map(|(v, _)| v)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let bytes = body.to_string().into_bytes();
        self.send(Method::POST, path, Some((bytes, "application/json")), None).await.map(|(v, _)| v)
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let (_, etag) = self.send(Method::GET, path, None, None).await?;
        let bytes = body.to_string().into_bytes();
        let etag = (!etag.is_empty()).then_some(etag);
        self.send(Method::PATCH, path, Some((bytes, "application/json")), etag.as_deref()).await.map(|(v, _)| v)
    }

    pub(super) async fn import(&self, csv: String) -> Result<Value, Error> {
        self.send(Method::POST, "/api/v1/import", Some((csv.into_bytes(), "text/csv")), None).await.map(|(v, _)| v)
    }

    /// Replaces what has a version.
    pub(super) async fn replace(&self, path: &str, body: &Value) -> Result<(), Error> {
        let (_, etag) = self.send(Method::GET, path, None, None).await?;
        let bytes = body.to_string().into_bytes();
        self.send(Method::PUT, path, Some((bytes, "application/json")), Some(&etag)).await.map(|_| ())
    }

    /// Every item of a list.
    pub(super) async fn all(&self, path: &str) -> Result<Vec<Value>, Error> {
        let mut out = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let more = cursor.as_ref().map(|c| format!("&cursor={c}")).unwrap_or_default();
            let page = self.get(&format!("{path}{join}limit=200{more}")).await?;
            out.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(out),
            }
        }
    }

    /// The test clock's time; an error says how to have one.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        let answer = self.get("/test/clock").await.map_err(|_| {
            Error::Input("the service has no test clock: start it with `hearthbeat run --test-clock manual=…`".into())
        })?;
        time(&answer["now"]).ok_or_else(|| Error::Input("the test clock tells no time".into()))
    }

    /// Moves the test clock; everything acknowledged before has been evaluated when it returns.
    pub(super) async fn move_to(&self, at: Timestamp) -> Result<(), Error> {
        self.post("/test/clock", &json!({"to": at.to_rfc3339(&Zone::default())})).await.map(|_| ())
    }

    /// Everything acknowledged is evaluated; time stands still.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.post("/test/clock", &json!({"advance": "PT0S"})).await.map(|_| ())
    }
}

/// A time in an answer.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(value.as_str()?).ok()
}
