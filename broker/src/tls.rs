//! TLS of the secure listeners: the server's certificate, optional client certificates, reload without a restart.
//!
//! Goes in: PEM files. Comes out: a configuration for handshakes, and the names that a client's certificate stands for.
//! Must never: believe a certificate that no configured authority signed, turn away who shows one and has a password, log
//! a key.

use crate::{auth::CertificateNames, config, error::Error};
use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

/// The configuration in force. A handshake takes the one of its moment.
pub(crate) struct Tls {
    files: config::Tls,
    current: ArcSwap<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// For WebSockets: a browser that is asked for a certificate breaks off, so it is asked only where somebody wants it.
    of_websockets: Arc<ServerConfig>,
    /// Who vouches for clients; none where nobody does.
    vouching: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    pub(crate) fn load(files: &config::Tls) -> Result<Self, Error> {
        Ok(Self { files: files.clone(), current: ArcSwap::new(Arc::new(current(files)?)) })
    }

    /// Reads the files again. An error leaves the old configuration in force.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.current.store(Arc::new(current(&self.files)?));
        Ok(())
    }

    /// The handshake; the caller bounds its time.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        websocket: bool,
    ) -> std::io::Result<(TlsStream<TcpStream>, CertificateNames)> {
        let current = self.current.load_full();
        let config = if websocket { &current.of_websockets } else { &current.config };
        let stream = TlsAcceptor::from(config.clone()).accept(stream).await?;
        let names = match (stream.get_ref().1.peer_certificates(), &current.vouching) {
            (Some([own, others @ ..]), Some(by)) if by.verify_client_cert(own, others, UnixTime::now()).is_ok() => {
                names(own)
            }
            _ => Vec::new(),
        };
        Ok((stream, names.into()))
    }
}

/// Asks every client for a certificate and wants none. One that nobody we know has signed, or that is over, is as none:
/// its device may have a secret (contract: either will do), and hears a refusal in MQTT's words if it has not.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// A browser with a certificate of somebody else's offers none, and asks nobody.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    /// Not here: [`Tls::accept`] asks after the handshake whose it is.
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn fault(path: Option<&Path>, reason: impl std::fmt::Display) -> Error {
    let file = path.map(|p| p.display().to_string()).unwrap_or_default();
    Error::Tls { file, reason: reason.to_string() }
}

/// The certificates in a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(Some(path), e))?;
    if all.is_empty() { Err(fault(Some(path), "no certificate in it")) } else { Ok(all) }
}

/// When the first certificate of a file ends.
pub(crate) fn end(path: &Path) -> Result<vitals::Timestamp, Error> {
    let mut ends = Vec::new();
    for der in certificates(path)? {
        let (_, certificate) =
            x509_parser::certificate::X509Certificate::from_der(&der).map_err(|e| fault(Some(path), e))?;
        ends.push(vitals::Timestamp::from_seconds(certificate.validity().not_after.timestamp()));
    }
    ends.into_iter().min().ok_or_else(|| fault(Some(path), "no certificate in it"))
}

/// The private key in a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| fault(Some(path), e))
}

fn current(files: &config::Tls) -> Result<Current, Error> {
    let (Some(cert_file), Some(key_file)) = (&files.cert_file, &files.key_file) else {
        return Err(fault(None, "cert_file and key_file are needed"));
    };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    // A folder without a device CA has given no certificate to anybody.
    let own = files.device_ca_file.iter().filter(|path| files.device_ca && path.exists());
    for path in files.client_ca_file.iter().chain(own) {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|e| fault(Some(path), e))?;
        }
    }
    let vouching = match roots.is_empty() {
        true => None,
        false => {
            let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|e| fault(None, e))?)
        }
    };
    // Read once for both: a certificate that is replaced meanwhile must not leave the doors with two.
    let (chain, key) = (certificates(cert_file)?, private_key(key_file)?);
    let config = |asks: Option<&Arc<dyn ClientCertVerifier>>| {
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| fault(None, e))?;
        let builder = match asks {
            None => builder.with_no_client_auth(),
            Some(by) => builder.with_client_cert_verifier(Arc::new(Asking(by.clone()))),
        };
        let made = builder.with_single_cert(chain.clone(), key.clone_key());
        made.map(Arc::new).map_err(|e| fault(Some(cert_file), e))
    };
    let of_websockets = config(vouching.as_ref().filter(|_| files.client_ca_file.is_some()))?;
    Ok(Current { config: config(vouching.as_ref())?, of_websockets, vouching })
}

const URN: &str = "urn:hearthbeat:device:";

/// The device ids that a verified certificate stands for: its common names, and SAN URIs of our own.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let common = certificate.subject().iter_common_name().filter_map(|n| n.as_str().ok()).map(str::to_owned);
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let uris = alternative.iter().flat_map(|san| &san.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(URN).map(str::to_owned),
        _ => None,
    });
    common.chain(uris).collect()
}
