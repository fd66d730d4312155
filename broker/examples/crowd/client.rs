//! One client: as much MQTT 3.1.1 as a meter speaks, over TCP or TLS.

use runtime::Clock;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use vitals::Zone;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where to go, and as whom.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) address: SocketAddr,
    devices: Arc<Vec<(String, String)>>,
    tls: Option<TlsConnector>,
}

/// Let in.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream>,
    topic: String,
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}

/// A packet with its length before it.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut n = body.len();
    while n > 127 {
        out.push(u8::try_from(n & 127).unwrap() | 128);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap());
    out.extend(body);
    out
}

impl Doors {
    pub(crate) fn new(address: &str, devices: &str, authority: Option<&str>) -> Self {
        let text = std::fs::read_to_string(devices).unwrap();
        // Identifiers and secrets need no escapes, so the file is its quoted words: "id", ID, "secret", SECRET, …
        let words: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
        let devices = words.chunks_exact(4).map(|w| (w[1].to_owned(), w[3].to_owned())).collect();
        let tls = authority.map(|file| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.resumption = rustls::client::Resumption::disabled(); // every handshake is a stranger's, and whole
            TlsConnector::from(Arc::new(config))
        });
        Self { address: address.parse().unwrap(), devices: Arc::new(devices), tls }
    }

    /// Connects as the device at `index` and waits for its CONNACK.
    pub(crate) async fn login(&self, index: usize) -> Client {
        let (id, secret) = &self.devices[index];
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                Box::new(tls.connect(name, stream).await.expect("a TLS handshake"))
            }
        };
        let mut body = Vec::with_capacity(128);
        put(&mut body, "MQTT");
        body.extend([4, 0xC2, 0, 0]); // clean, with name and secret; keep alive 0: the server's
        put(&mut body, id);
        put(&mut body, id);
        put(&mut body, secret);
        stream.write_all(&framed(0x10, &body)).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.expect("a CONNACK");
        assert_eq!(answer, [0x20, 2, 0, 0], "{id} was not let in");
        Client { stream, topic: format!("hb/v1/devices/{id}/readings") }
    }
}

impl Client {
    /// One reading at QoS 1.
    pub(crate) async fn publish(&mut self, pid: u16, seq: u64) {
        let payload = format!(
            "{{\"v\":1,\"readings\":[{{\"seq\":{seq},\"kind\":\"blood_pressure\",\"time\":\"{}\",\"systolic\":{},\
             \"diastolic\":{},\"pulse\":62,\"unit\":\"mmHg\"}}]}}",
            Clock::wall().to_rfc3339(&Zone::default()),
            110 + seq % 20,
            70 + seq % 10
        );
        let mut body = Vec::with_capacity(256);
        put(&mut body, &self.topic);
        body.extend(pid.to_be_bytes());
        body.extend(payload.as_bytes());
        self.stream.write_all(&framed(0x32, &body)).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The PUBACK of `pid`, the only thing that comes to a client without subscriptions.
    pub(crate) async fn acknowledged(&mut self, pid: u16) {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).await.expect("a PUBACK");
        let [high, low] = pid.to_be_bytes();
        assert_eq!(answer, [0x40, 2, high, low]);
    }
}
