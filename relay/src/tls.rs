//! TLS of the relay's own, for those who have no proxy for it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What accepts with this chain and key, both PEM; or what is wrong with them, in words.
pub(crate) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let wrong = |file: &Path, error: &dyn fmt::Display| format!("{}: {error}", file.display());
    let chain_file = CertificateDer::pem_file_iter(chain).map_err(|error| wrong(chain, &error))?;
    let certificates =
        chain_file.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| wrong(chain, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
