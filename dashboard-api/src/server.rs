//! The listener, the router with its layers, and the orderly end.

use crate::{
    Config, Error, Links,
    door::{Door, Peer},
    guard,
    live::Hub,
    openapi,
    problem::Problem,
    routes,
    sessions::Sessions,
    state::{Api, Inner},
    trail::Trail,
};
use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
};
use runtime::Drain;
use std::{
    future::IntoFuture,
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::AtomicI64},
    time::Duration,
};
use store::Store;
use tokio::{net::TcpListener, sync::watch};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer, limit::RequestBodyLimitLayer};

/// Largest body: an import of 100,000 rows fits. Larger: 413.
const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// For requests under way when the end begins; after that their connections close.
const LAST_REQUESTS: Duration = Duration::from_secs(3);
/// For changes whose caller is gone, after that.
const LAST_CHANGES: Duration = Duration::from_secs(3);
/// Ended sessions are forgotten so often, in real time: it frees memory and decides nothing.
const SWEEP: Duration = Duration::from_secs(60);

/// A bound address, so that others can be told it before anything is served.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    public_url: String,
}

/// A running API.
#[derive(Debug, Clone)]
pub struct Handle {
    address: SocketAddr,
}

impl Handle {
    /// Where it really listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Listener {
    /// Binds the configured address.
    ///
    /// # Errors
    /// [`Error::Bind`] with the system's words.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let wrong = |e: std::io::Error| Error::Bind { address: config.address.clone(), reason: e.to_string() };
        let listener = TcpListener::bind(&config.address).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let configured = config.public_url.trim_end_matches('/');
        let public_url = if configured.is_empty() { format!("http://{address}") } else { configured.to_owned() };
        Ok(Self { listener, address, public_url })
    }

    /// What links in messages begin with; no slash at the end.
    pub fn public_url(&self) -> String {
        self.public_url.clone()
    }

    /// Serves until the drain.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub async fn serve(self, mut config: Config, store: Store, links: Links, drain: &Drain) -> Result<Handle, Error> {
        config.public_url = self.public_url;
        let (router, api) = assemble(config, store, links, drain).await?;
        let service = router.into_make_service_with_connect_info::<Peer>();
        let share = drain.named("api");
        let (shut, shuts) = watch::channel(false);
        let listener = Door { listener: self.listener, shut: shuts };
        tokio::spawn(async move {
            let mut stop = api.stopping.clone();
            let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
            let serve = axum::serve(listener, service).with_graceful_shutdown(stopped).into_future();
            let mut late = api.stopping.clone();
            tokio::select! {
                outcome = serve => if let Err(e) = outcome { tracing::error!(error = %e, "api") },
                () = async { drop(late.wait_for(|stop| *stop).await); tokio::time::sleep(LAST_REQUESTS).await } =>
                    tracing::warn!("closed requests that did not end"),
            }
            shut.send_replace(true);
            if tokio::time::timeout(LAST_CHANGES, api.changes.closed()).await.is_err() {
                tracing::warn!("left changes that did not end");
            }
            api.trail.flush().await;
            api.trail.close();
            drop(share);
        });
        Ok(Handle { address: self.address })
    }
}

/// Binds and serves.
///
/// # Errors
/// [`Error`].
pub async fn start(config: Config, store: Store, links: Links, drain: &Drain) -> Result<Handle, Error> {
    Listener::bind(&config).await?.serve(config, store, links, drain).await
}

/// Every route with its layers, without a socket.
///
/// # Errors
/// When what was kept cannot be read.
pub async fn router(config: Config, store: Store, links: Links, drain: &Drain) -> Result<Router, Error> {
    assemble(config, store, links, drain).await.map(|(router, _)| router)
}

/// Every route with its layers, and what they share.
async fn assemble(config: Config, store: Store, links: Links, drain: &Drain) -> Result<(Router, Api), Error> {
    let stopping = watch_drain(drain);
    let api = Api(Arc::new(Inner {
        sessions: Sessions::load(store.clone(), &config).await?,
        trail: Trail::start(store.clone(), drain),
        hub: Hub::start(store.clone(), stopping.clone(), drain),
        store,
        links,
        config,
        stopping,
        changes: watch::Sender::new(()),
        evaluated: AtomicI64::new(0),
        openapi: OnceLock::new(),
    }));
    sweep(api.clone());
    let (router, document) = openapi::build(routes::all());
    let _ = api.openapi.set(document);
    let router = router
        .route_layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .merge(routes::pages())
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path has no such method")
        })
        .with_state(api.clone())
        .layer(middleware::map_response(manners))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service made a mistake; see its log")
                .into_response()
        }))
        .layer(CompressionLayer::new())
        .layer(RequestBodyLimitLayer::new(LARGEST_BODY))
        .layer(middleware::map_response(too_large))
        .layer(axum::extract::DefaultBodyLimit::disable());
    Ok((router, api))
}

/// The limit answers in words of its own before any handler runs; ours are those of every other error.
async fn too_large(response: Response) -> Response {
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == "application/problem+json");
    if response.status() != StatusCode::PAYLOAD_TOO_LARGE || ours {
        return response;
    }
    let most = LARGEST_BODY / (1024 * 1024);
    manners(
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("a body has at most {most} MiB"))
            .into_response(),
    )
    .await
}

fn watch_drain(drain: &Drain) -> watch::Receiver<bool> {
    let (tell, stopping) = watch::channel(false);
    let drain = drain.named("api watch");
    tokio::spawn(async move {
        drain.stopping().await;
        tell.send_replace(true);
        // Its share ends at once: it only passes the word on.
        drop(drain);
        tell.closed().await;
    });
    stopping
}

fn sweep(api: Api) {
    let mut stopping = api.stopping.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(SWEEP) => api.sessions.sweep(),
            }
        }
    });
}

/// Headers that every answer has unless its handler chose its own.
async fn manners(mut response: Response) -> Response {
    const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                       connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    let defaults = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
