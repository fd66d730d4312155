//! TLS towards the broker above: which authorities may vouch for it, and what we show of ourselves.
//!
//! Goes in: PEM files, read anew for every connection. Comes out: a configuration for one handshake.
//! Must never: trust what the configuration does not name.

use super::{config::Upstream, link::Lost};
use crate::tls::{certificates, private_key};
use rumqttc::TlsConfiguration;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::sync::Arc;

/// What one handshake uses.
pub(super) fn config(config: &Upstream) -> Result<TlsConfiguration, Lost> {
    let fault = |e: &dyn std::fmt::Display| Lost::new("tls", e);
    let mut roots = RootCertStore::empty();
    if let Some(file) = &config.ca_file {
        for certificate in certificates(file).map_err(|e| fault(&e))? {
            roots.add(certificate).map_err(|e| fault(&format!("{}: {e}", file.display())))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&e))?
        .with_root_certificates(roots);
    let made = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            let (chain, key) = (certificates(cert).map_err(|e| fault(&e))?, private_key(key).map_err(|e| fault(&e))?);
            builder.with_client_auth_cert(chain, key).map_err(|e| fault(&format!("{}: {e}", cert.display())))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConfiguration::Rustls(Arc::new(made)))
}
