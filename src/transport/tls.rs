//! Certificates that a host is trusted by, and those that it is shown: `/etc/containers/certs.d/HOST:PORT/`.
//!
//! The system's roots, `SSL_CERT_FILE` and `SSL_CERT_DIR` come from the platform verifier; these are added for one host.

use super::TransportError;
use reqwest::{Certificate, Identity};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a certificate or key file.
const CERTIFICATE_LIMIT_BYTES: u64 = 1 << 20;

/// What one host needs beyond the system's roots.
#[derive(Default)]
pub(super) struct HostCertificates {
    /// Authorities, `*.crt`.
    pub(super) roots: Vec<Certificate>,
    /// Certificate and key that are shown to the host, `*.cert` and `*.key` of the same name.
    pub(super) identity: Option<Identity>,
}

impl HostCertificates {
    /// Reads the directories of a host, e.g. `/etc/containers/certs.d/localhost:5000`; ones that are not there count as
    /// empty.
    pub(super) fn read(directories: &[PathBuf], authority: &str) -> Result<HostCertificates, TransportError> {
        let mut found = HostCertificates::default();
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(directory.join(authority)) else { continue };
            let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            paths.sort();
            for path in paths {
                match path.extension().and_then(|e| e.to_str()) {
                    Some("crt") => found.roots.extend(roots(&path)?),
                    Some("cert") if found.identity.is_none() => found.identity = Some(identity(&path)?),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Adds the authorities in some files.
    pub(super) fn add_roots(&mut self, files: &[PathBuf]) -> Result<(), TransportError> {
        for file in files {
            self.roots.extend(roots(file)?);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.identity.is_none()
    }
}

fn roots(path: &Path) -> Result<Vec<Certificate>, TransportError> {
    Certificate::from_pem_bundle(&read(path)?).map_err(|e| unusable(path, &e))
}

fn identity(path: &Path) -> Result<Identity, TransportError> {
    let mut pem = read(path)?;
    pem.push(b'\n');
    pem.extend(read(&path.with_extension("key"))?);
    Identity::from_pem(&pem).map_err(|e| unusable(path, &e))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> TransportError {
    TransportError::Certificate { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|f| f.take(CERTIFICATE_LIMIT_BYTES + 1).read_to_end(&mut bytes));
    result.map_err(|e| unusable(path, &e))?;
    if bytes.len() as u64 > CERTIFICATE_LIMIT_BYTES { Err(unusable(path, &"it is too large")) } else { Ok(bytes) }
}
