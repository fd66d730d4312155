//! TLS, client certificates, WebSocket, and what a silent caller on them costs.

use crate::{client::*, undisturbed, world::*};
use base64::Engine;
use broker::{Config, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: Option<&str>, san: Vec<SanType>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = san;
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A server's files, and the gate's configuration with them.
    fn files(&self, folder: &Path) -> Tls {
        let (certificate, key) = self.issue(Some("localhost"), vec![SanType::DnsName("localhost".try_into().unwrap())]);
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        Tls {
            cert_file: write("cert.pem", certificate.pem()),
            key_file: write("key.pem", key.serialize_pem()),
            client_ca_file: write("ca.pem", self.0.pem()),
            ..Tls::default()
        }
    }

    async fn connect(
        &self,
        address: std::net::SocketAddr,
        client: Option<(rcgen::Certificate, KeyPair)>,
    ) -> TlsStream<TcpStream> {
        self.connect_with(&rustls::version::TLS13, address, client).await
    }

    async fn connect_with(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        address: std::net::SocketAddr,
        client: Option<(rcgen::Certificate, KeyPair)>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from(certificate.der().to_vec())];
                builder.with_client_auth_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }
}

/// All four doors open.
async fn secure(folder: &Path) -> (World, Authority) {
    let authority = Authority::new();
    let port = || "127.0.0.1:0".to_owned();
    let config = Config { mqtts: port(), ws: port(), wss: port(), tls: authority.files(folder), ..config() };
    (World::with(config).await, authority)
}

#[tokio::test]
async fn tls_with_a_password_and_with_a_certificate_for_its_own_device_only() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    w.device("d").await;
    w.device("other").await;
    let door = w.gate.addresses().mqtts.unwrap();
    let bare = Hello { user: None, password: None, ..hello("d") };
    let mut by_password = Client::over(authority.connect(door, None).await);
    assert_eq!(by_password.ask(&hello("d").bytes()).await, Packet(0x20, vec![0, 0]));
    assert_eq!(by_password.ask(&publish(4, &readings("d"), 1, b"x")).await, puback(1));
    let uri = SanType::URI("urn:hearthbeat:device:d".try_into().unwrap());
    for certificate in [authority.issue(Some("d"), vec![]), authority.issue(None, vec![uri])] {
        let mut c = Client::over(authority.connect(door, Some(certificate)).await);
        assert_eq!(c.ask(&bare.bytes()).await, Packet(0x20, vec![0, 0]));
        assert_eq!(c.ask(&publish(4, &readings("d"), 1, b"x")).await, puback(1));
    }
    for (certificate, hello) in [
        (Some(authority.issue(Some("d"), vec![])), Hello { id: "other", ..bare.clone() }),
        (Some(authority.issue(Some("d"), vec![])), Hello { user: Some("other"), ..bare.clone() }),
        (None, bare.clone()),
    ] {
        let mut c = Client::over(authority.connect(door, certificate).await);
        assert_eq!(c.ask(&hello.bytes()).await, Packet(0x20, vec![0, 5]));
    }
}

/// As of a maker's own authority, or of a device CA that was retired: it opens nothing, and does not stand in the way of
/// a secret that does. Over TLS 1.2 and 1.3, and never without a word.
#[tokio::test]
async fn a_certificate_that_nobody_we_know_has_signed_is_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    w.device("d").await;
    let door = w.gate.addresses().mqtts.unwrap();
    let bare = Hello { user: None, password: None, ..hello("d") };
    let wrong = Hello { password: Some("wrong"), ..hello("d") };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (hello, code) in [(bare.clone(), 5), (wrong.clone(), 5), (hello("d"), 0)] {
            let foreign = Authority::new().issue(Some("d"), vec![]);
            let mut c = Client::over(authority.connect_with(version, door, Some(foreign)).await);
            assert_eq!(c.ask(&hello.bytes()).await, Packet(0x20, vec![0, code]), "{version:?}");
        }
        let own = authority.issue(Some("d"), vec![]);
        let mut c = Client::over(authority.connect_with(version, door, Some(own)).await);
        assert_eq!(c.ask(&bare.bytes()).await, Packet(0x20, vec![0, 0]), "{version:?}");
    }
}

#[tokio::test]
async fn a_withdrawn_credential_ends_a_session_by_certificate_and_lets_it_in_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    let device = w.device("d").await;
    let door = w.gate.addresses().mqtts.unwrap();
    let enter = async || {
        let mut c = Client::over(authority.connect(door, Some(authority.issue(Some("d"), vec![]))).await);
        let got = c.ask(&Hello { user: None, password: None, ..hello5("d") }.bytes()).await;
        (c, got)
    };
    let (mut live, got) = enter().await;
    assert!(matches!(got, Packet(0x20, body) if body[1] == 0));
    // A new secret is no business of one who came in by certificate.
    let renewed = vitals::Device { secret_hash: Some([7; 32]), ..device };
    w.store.update_device(renewed.clone()).await.unwrap();
    live.ping().await;
    w.store.update_device(vitals::Device { revoked: true, secret_hash: None, ..renewed }).await.unwrap();
    assert_eq!(live.hear().await, Packet(0xE0, vec![0x98]));
    assert!(matches!(enter().await.1, Packet(0x20, body) if body[1] == 0x87));
}

#[tokio::test]
async fn the_installations_own_authority_is_trusted_unless_it_is_told_not_to_be() {
    for device_ca in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (server, own) = (Authority::new(), Authority::new());
        let path = folder.path().join("device-ca.pem");
        std::fs::write(&path, own.0.pem()).unwrap();
        let files = server.files(folder.path());
        let tls = Tls { client_ca_file: None, device_ca, device_ca_file: Some(path), ..files };
        let w = World::with(Config { mqtts: "127.0.0.1:0".into(), tls, ..config() }).await;
        w.device("d").await;
        let door = w.gate.addresses().mqtts.unwrap();
        let mut c = Client::over(server.connect(door, Some(own.issue(Some("d"), vec![]))).await);
        let got = c.ask(&Hello { user: None, password: None, ..hello("d") }.bytes()).await;
        assert_eq!(got, Packet(0x20, vec![0, if device_ca { 0 } else { 5 }]));
    }
}

#[tokio::test]
async fn certificates_are_reloaded_without_a_restart_and_a_bad_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    let door = w.gate.addresses().mqtts.unwrap();
    let shown = async || {
        let stream = authority.connect(door, None).await;
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = shown().await;
    authority.files(folder.path());
    w.gate.reload_tls().unwrap();
    let after = shown().await;
    assert_ne!(before, after);
    std::fs::write(folder.path().join("cert.pem"), "nonsense").unwrap();
    assert!(w.gate.reload_tls().unwrap_err().to_string().contains("cert.pem"));
    assert_eq!(shown().await, after);
}

#[tokio::test]
async fn d10_silent_callers_on_secure_doors_delay_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    w.device("d").await;
    undisturbed(&w, async || {
        let at = w.gate.addresses();
        let mut held = Vec::new();
        for door in [at.mqtts, at.ws, at.wss, at.mqtt].into_iter().flatten().cycle().take(40) {
            held.push(TcpStream::connect(door).await.unwrap());
        }
        for _ in 0..3 {
            let begun = Instant::now();
            let mut c = Client::over(authority.connect(at.mqtts.unwrap(), None).await);
            assert_eq!(c.ask(&hello("d").bytes()).await, Packet(0x20, vec![0, 0]));
            assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        }
    })
    .await;
}

/// The client's half of RFC 6455: opens, then wraps what is said and unwraps what is heard.
async fn websocket(mut stream: impl Stream + 'static) -> DuplexStream {
    let key = base64::engine::general_purpose::STANDARD.encode([7; 16]);
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut input, mut output) = tokio::io::split(stream);
    let (mut said, mut heard) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut chunk = [0; 60];
        while let Ok(n @ 1..) = said.read(&mut chunk).await {
            let mut frame = vec![0x82, 0x80 | u8::try_from(n).unwrap(), 9, 8, 7, 6];
            frame.extend(chunk[..n].iter().enumerate().map(|(i, b)| b ^ [9, 8, 7, 6][i & 3]));
            output.write_all(&frame).await.unwrap();
            output.flush().await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok(first) = input.read_u8().await {
            let mut n = usize::from(input.read_u8().await.unwrap());
            if n == 126 {
                n = usize::from(input.read_u16().await.unwrap());
            }
            let mut payload = vec![0; n];
            input.read_exact(&mut payload).await.unwrap();
            if first != 0x82 {
                break;
            }
            heard.write_all(&payload).await.unwrap();
        }
    });
    near
}

#[tokio::test]
async fn a_browser_publishes_over_ws_and_wss() {
    let folder = tempfile::tempdir().unwrap();
    let (w, authority) = secure(folder.path()).await;
    w.device("d").await;
    let at = w.gate.addresses();
    let plain = Client::over(websocket(TcpStream::connect(at.ws.unwrap()).await.unwrap()).await);
    let secure = Client::over(websocket(authority.connect(at.wss.unwrap(), None).await).await);
    for mut c in [plain, secure] {
        assert!(matches!(c.ask(&hello5("d").bytes()).await, Packet(0x20, body) if body[1] == 0));
        assert_eq!(c.ask(&publish(5, &readings("d"), 1, &[b'x'; 5000])).await, puback(1));
        c.ping().await;
    }
    let mut wrong = TcpStream::connect(at.ws.unwrap()).await.unwrap();
    wrong.write_all(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    wrong.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
