use std::sync::Arc;

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;

/// TLS that trusts what the machine trusts, with a crypto provider of its own: nothing process-wide is read or set.
///
/// A machine without any certificate authorities is usual in small containers whose agents speak plain HTTP, so it is
/// not an error: HTTPS agents are then unreachable.
pub(crate) fn config() -> Result<ClientConfig, rustls::Error> {
    let config = match builder()?.with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no certificate authorities found; agents behind HTTPS cannot be called");
            builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
        }
    };
    Ok(for_http(config))
}

/// TLS that trusts these authorities and no others, whatever the machine trusts.
pub(crate) fn trusting(authorities: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(for_http(builder()?.with_root_certificates(authorities).with_no_client_auth()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn for_http(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
