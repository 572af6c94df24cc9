//! Whom the engines trust that connect to other servers.

use std::path::Path;
use std::sync::Arc;

use mppd_database::TlsOptions;
use mppd_database::connection::trusts_anybody;
use mppd_engine::config::BuildContext;
use mppd_engine::{Finding, Span, Spanned};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What a client needs for TLS: the authorities of `ca_file`, or those of the system. A client that
/// encrypts nothing trusts nobody.
///
/// # Errors
/// A `ca_file` that can't be read or holds no certificate, at its place.
pub(crate) fn client(
    options: Option<&Spanned<TlsOptions>>,
    encrypts: bool,
    cx: &mut BuildContext<'_>,
) -> Result<ClientConfig, Finding> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Finding::nowhere(format!("no TLS: {error}")))?;
    if let Some(warning) = options.and_then(trusts_anybody) {
        cx.warn(warning);
        let anybody = Arc::new(Anybody(provider));
        let builder = builder.dangerous().with_custom_certificate_verifier(anybody);
        return Ok(builder.with_no_client_auth());
    }
    let roots = match options.and_then(|options| options.value.ca_file.as_ref()) {
        Some(file) => {
            let path = cx.path(file);
            read_authorities(&path, &cx.read(file)?, file.span)?
        }
        None if encrypts => system_authorities(cx),
        None => RootCertStore::empty(),
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_authorities(path: &Path, pem: &[u8], place: Span) -> Result<RootCertStore, Finding> {
    let bad = |why: &str| Finding::error(place, format!("{} {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(&format!("is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| bad(&format!("holds a certificate that can't be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(bad("holds no certificate in PEM form"));
    }
    Ok(roots)
}

fn system_authorities(cx: &mut BuildContext<'_>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Systems have stray files among their certificates; those that can be read count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "this system has no certificates of authorities, so no server is trusted";
        cx.warn(Finding::nowhere(message).with_help("install them, or give <tls> a ca_file"));
    }
    roots
}

/// Takes any certificate for good: `skip_verification`. The handshake is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
