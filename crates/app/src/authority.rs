//! The installation's device CA: made by `init`, signs devices' requests, is rotated with an overlap.
//!
//! Goes in: a request (CSR) and the device for which it is. Comes out: a certificate for that device and no other, whatever
//! the request says. `device-ca.pem` holds every authority that is trusted, `device-ca.key` the key of the one that signs:
//! the one whose public key fits, wherever it stands in the file, so that a crash between the two files does no harm.
//! Must never: let the key out of the folder, sign what the request's own key did not sign, sign for longer than told.

use crate::{Done, Failure, folder};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{fs, path::Path, time::Duration};
use vitals::{DeviceId, Timestamp, Zone};
use x509_parser::{
    certification_request::X509CertificationRequest, oid_registry, prelude::FromDer, prelude::X509Certificate,
    public_key::PublicKey,
};

/// What is trusted, in the data folder.
pub(crate) const CERTIFICATES: &str = "device-ca.pem";
/// What signs.
const KEY: &str = "device-ca.key";
/// An authority lives so long.
const AUTHORITY_YEARS: u64 = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A device's clock, and ours, may be off by so much when the certificate is first shown.
const EARLIER: Duration = Duration::from_secs(3600);
/// Longest request: an RSA key of 8,192 bits with attributes is a quarter of it.
const LONGEST_REQUEST: usize = 16 * 1024;
const SHORTEST_RSA: usize = 2048;
const LONGEST_RSA: usize = 8192;

/// A certificate that was signed, with what is worth saying of it.
#[derive(Debug)]
pub(crate) struct Issued {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM of the authority that signed it.
    pub(crate) chain: String,
    /// Hexadecimal.
    pub(crate) serial: String,
    pub(crate) not_after: Timestamp,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The request is at fault; says how.
    #[error("{0}")]
    Request(&'static str),
    /// The authority is at fault.
    #[error("{0}")]
    Authority(String),
}

fn broken(e: impl std::fmt::Display) -> SignError {
    SignError::Authority(format!("the device CA cannot sign: {e}"))
}

/// A new authority, its key and its certificate beside those that are trusted already, newest first.
pub(crate) fn make(folder: &Path, now: Timestamp) -> Done {
    let wrong = |e: rcgen::Error| Failure::failed("device CA", e);
    let key = KeyPair::generate().map_err(wrong)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let name = format!("Hearthbeat device CA {}", now.day(&Zone::utc()));
    params.distinguished_name.push(DnType::CommonName, name);
    let end = now.plus(DAY.saturating_mul(365 * u32::try_from(AUTHORITY_YEARS).unwrap_or(1)));
    (params.not_before, params.not_after) = (moment(now.minus(EARLIER)), moment(end));
    params.serial_number = Some(serial().map_err(|e| Failure::failed("device CA", e))?);
    let certificate = params.self_signed(&key).map_err(wrong)?;
    let before = match fs::read_to_string(folder.join(CERTIFICATES)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Failure::failed(CERTIFICATES, e)),
    };
    // First everybody trusts it, then it signs.
    folder::write_private(&folder.join(CERTIFICATES), format!("{}{before}", certificate.pem()).as_bytes())?;
    folder::write_private(&folder.join(KEY), key.serialize_pem().as_bytes())?;
    folder::keep_names(folder)
}

/// Every authority but the one that signs is trusted no more. Returns how many those were.
pub(crate) fn retire(folder: &Path) -> Result<usize, Failure> {
    let (signer, all) = load(folder).map_err(|e| Failure::failed("device CA", e))?;
    folder::write_private(&folder.join(CERTIFICATES), pem("CERTIFICATE", &signer.certificate).as_bytes())?;
    folder::keep_names(folder)?;
    Ok(all.len() - 1)
}

/// What is known of one authority.
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) serial: String,
    pub(crate) not_after: Timestamp,
    /// It is the one that signs.
    pub(crate) signs: bool,
}

/// Every trusted authority.
pub(crate) fn list(folder: &Path) -> Result<Vec<Known>, Failure> {
    let (signer, all) = load(folder).map_err(|e| Failure::failed("device CA", e))?;
    let known = |der: &CertificateDer<'static>| {
        let (_, x509) = X509Certificate::from_der(der).map_err(|e| Failure::failed(CERTIFICATES, e))?;
        Ok(Known {
            name: x509.subject().iter_common_name().find_map(|n| n.as_str().ok()).unwrap_or_default().to_owned(),
            serial: hex::encode(x509.raw_serial()),
            not_after: Timestamp::from_seconds(x509.validity().not_after.timestamp()),
            signs: *der == signer.certificate,
        })
    };
    all.iter().map(known).collect()
}

struct Signer {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// The one that signs, and all that are trusted.
fn load(folder: &Path) -> Result<(Signer, Vec<CertificateDer<'static>>), SignError> {
    let text = fs::read_to_string(folder.join(KEY)).map_err(|e| broken(format!("{KEY}: {e}")))?;
    let key = KeyPair::from_pem(&text).map_err(|e| broken(format!("{KEY}: {e}")))?;
    let all = CertificateDer::pem_file_iter(folder.join(CERTIFICATES))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| broken(format!("{CERTIFICATES}: {e}")))?;
    let own = key.subject_public_key_info();
    let fits = |der: &&CertificateDer<'static>| {
        X509Certificate::from_der(der).is_ok_and(|(_, x509)| x509.public_key().raw == own)
    };
    let certificate = all.iter().find(fits).cloned();
    let certificate = certificate.ok_or_else(|| broken(format!("{KEY} fits no certificate in {CERTIFICATES}")))?;
    Ok((Signer { key, certificate }, all))
}

/// Signs a device's request for `days`, or for as long as the authority itself lives.
pub(crate) fn sign(
    folder: &Path,
    device: &DeviceId,
    request: &str,
    days: u32,
    now: Timestamp,
) -> Result<Issued, SignError> {
    let public = public_key(request)?;
    let (signer, _) = load(folder)?;
    let (_, authority) = X509Certificate::from_der(&signer.certificate).map_err(broken)?;
    let authority_end = Timestamp::from_seconds(authority.validity().not_after.timestamp());
    let not_after = now.plus(DAY.saturating_mul(days)).min(authority_end);
    if not_after <= now {
        return Err(broken("it has expired; run `hearthbeat device ca rotate`"));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    let urn = format!("urn:hearthbeat:device:{device}");
    params.subject_alt_names = vec![SanType::URI(urn.try_into().map_err(broken)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (moment(now.minus(EARLIER)), moment(not_after));
    let number = serial().map_err(broken)?;
    params.serial_number = Some(number.clone());
    let issuer = Issuer::from_ca_cert_der(&signer.certificate, &signer.key).map_err(broken)?;
    let certificate = params.signed_by(&public, &issuer).map_err(broken)?;
    Ok(Issued {
        certificate: certificate.pem(),
        chain: pem("CERTIFICATE", &signer.certificate),
        serial: hex::encode(number.to_bytes()),
        not_after,
    })
}

/// The key of a request that was signed with it, if it is a strong one that a TLS login can be made with. Nothing else of
/// the request counts.
fn public_key(request: &str) -> Result<SubjectPublicKeyInfo, SignError> {
    use SignError::Request as Wrong;
    if request.len() > LONGEST_REQUEST {
        return Err(Wrong("longer than 16 KiB: send one PKCS #10 request"));
    }
    let unreadable = Wrong("not a PKCS #10 request in PEM: it begins with -----BEGIN CERTIFICATE REQUEST-----");
    let Some(der) = request_der(request) else { return Err(unreadable) };
    let Ok((rest, csr)) = X509CertificationRequest::from_der(&der) else { return Err(unreadable) };
    if !rest.is_empty() {
        return Err(Wrong("there is something behind the request"));
    }
    let key = &csr.certification_request_info.subject_pki;
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < SHORTEST_RSA => {
            return Err(Wrong("an RSA key shorter than 2,048 bits is weak: make a longer one, or P-256"));
        }
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() > LONGEST_RSA => {
            return Err(Wrong("an RSA key longer than 8,192 bits is not taken: P-256 is as good"));
        }
        Ok(PublicKey::RSA(_) | PublicKey::EC(_)) => {}
        Ok(_) if key.algorithm.algorithm == oid_registry::OID_SIG_ED25519 => {}
        _ => return Err(Wrong("a kind of key that is not taken: use P-256, P-384, Ed25519 or RSA")),
    }
    let sha1 = [oid_registry::OID_PKCS1_SHA1WITHRSA, oid_registry::OID_SHA1_WITH_RSA];
    if sha1.contains(&csr.signature_algorithm.algorithm) {
        return Err(Wrong("signed with SHA-1, which is weak: use SHA-256"));
    }
    let public = SubjectPublicKeyInfo::from_der(key.raw)
        .map_err(|_| Wrong("a kind of key that is not taken: use P-256, P-384, Ed25519 or RSA"))?;
    csr.verify_signature().map_err(|_| Wrong("its signature is not by its own key: make the request anew"))?;
    Ok(public)
}

/// The bytes of the one PEM block, under the new name or the old.
fn request_der(text: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::CertificateSigningRequestDer;
    let text = text.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
    CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).ok().map(|der| der.to_vec())
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// 127 random bits: a positive number of 16 bytes.
fn serial() -> Result<SerialNumber, getrandom::Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7F | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn moment(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::UNIX_EPOCH + Duration::from_micros(at.as_micros().max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

    const DAYS: u32 = 730;

    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-03-02T08:00:00+08:00").unwrap()
    }

    fn request(algorithm: &'static SignatureAlgorithm, name: &str) -> String {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(vec!["elsewhere.example".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::NoCa;
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn authority() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), now()).unwrap();
        folder
    }

    fn signed(folder: &Path, text: &str) -> Result<Issued, SignError> {
        sign(folder, &"bp-1".parse().unwrap(), text, DAYS, now())
    }

    #[test]
    fn a_certificate_is_for_the_device_whatever_the_request_says() {
        let folder = authority();
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let issued = signed(folder.path(), &request(algorithm, "bp-2")).unwrap();
            let der = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
            let (_, x509) = X509Certificate::from_der(&der).unwrap();
            let names: Vec<&str> = x509.subject().iter_common_name().filter_map(|n| n.as_str().ok()).collect();
            assert_eq!(names, ["bp-1"]);
            let san = format!("{:?}", x509.subject_alternative_name().unwrap().unwrap().value);
            assert!(san.contains("urn:hearthbeat:device:bp-1") && !san.contains("elsewhere"), "{san}");
            assert!(!x509.is_ca());
            assert_eq!(issued.not_after, now().plus(DAY * DAYS));
            assert_eq!(x509.validity().not_after.timestamp(), issued.not_after.as_micros() / 1_000_000);
            let chain = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
            let (_, ca) = X509Certificate::from_der(&chain).unwrap();
            x509.verify_signature(Some(ca.public_key())).unwrap();
        }
    }

    #[test]
    fn what_is_weak_forged_or_no_request_is_refused_with_the_remedy() {
        let folder = authority();
        let good = request(&PKCS_ECDSA_P256_SHA256, "bp-1");
        let mut der = request_der(&good).unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        let certificate = signed(folder.path(), &good).unwrap().certificate;
        let weak = include_str!("../tests/data/rsa1024.csr");
        for (text, words) in [
            (pem("CERTIFICATE REQUEST", &der), "signature"),
            (weak.to_owned(), "2,048"),
            (include_str!("../tests/data/p521.csr").to_owned(), "kind of key"),
            (include_str!("../tests/data/sha1.csr").to_owned(), "SHA-1"),
            (certificate, "PKCS #10"),
            ("hello".into(), "PKCS #10"),
            (pem("CERTIFICATE REQUEST", b"\x30\x03\x02\x01\x00"), "PKCS #10"),
            ("x".repeat(LONGEST_REQUEST + 1), "16 KiB"),
        ] {
            let said = signed(folder.path(), &text).unwrap_err().to_string();
            assert!(said.contains(words), "{words}: {said}");
        }
        signed(folder.path(), include_str!("../tests/data/rsa2048.csr")).unwrap();
    }

    #[test]
    fn both_authorities_are_trusted_until_the_old_one_is_retired() {
        let folder = authority();
        let by_old = signed(folder.path(), &request(&PKCS_ED25519, "x")).unwrap();
        make(folder.path(), now().plus(DAY)).unwrap();
        let by_new = signed(folder.path(), &request(&PKCS_ED25519, "x")).unwrap();
        assert_ne!(by_old.chain, by_new.chain);
        let known = list(folder.path()).unwrap();
        assert_eq!(known.iter().map(|k| k.signs).collect::<Vec<_>>(), [true, false]);
        let trusted = fs::read_to_string(folder.path().join(CERTIFICATES)).unwrap().replace('\r', "");
        assert!(trusted.contains(&by_old.chain) && trusted.contains(&by_new.chain));
        assert_eq!(retire(folder.path()).unwrap(), 1);
        assert_eq!(fs::read_to_string(folder.path().join(CERTIFICATES)).unwrap(), by_new.chain);
        assert_eq!(retire(folder.path()).unwrap(), 0);
    }

    #[test]
    fn a_crash_between_the_two_files_leaves_the_old_one_signing() {
        let folder = authority();
        let old_key = fs::read(folder.path().join(KEY)).unwrap();
        let before = signed(folder.path(), &request(&PKCS_ED25519, "x")).unwrap();
        make(folder.path(), now()).unwrap();
        fs::write(folder.path().join(KEY), old_key).unwrap();
        assert_eq!(signed(folder.path(), &request(&PKCS_ED25519, "x")).unwrap().chain, before.chain);
    }

    #[test]
    fn nothing_outlives_the_authority_and_an_expired_one_signs_nothing() {
        let folder = authority();
        let end = list(folder.path()).unwrap()[0].not_after;
        let csr = request(&PKCS_ED25519, "x");
        let late = sign(folder.path(), &"bp-1".parse().unwrap(), &csr, DAYS, end.minus(DAY)).unwrap();
        assert_eq!(late.not_after, end);
        let gone = sign(folder.path(), &"bp-1".parse().unwrap(), &csr, DAYS, end).unwrap_err();
        assert!(gone.to_string().contains("rotate"), "{gone}");
    }
}
