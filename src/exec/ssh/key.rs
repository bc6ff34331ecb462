//! A private key: read from a file, told as a public key, used to sign.

use super::wire::{put_integer, put_string};
use super::{der, openssh, rsa};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

/// `SSH_AGENT_RSA_SHA2_256`: sign with SHA-256.
const RSA_SHA2_256: u32 = 2;
/// `SSH_AGENT_RSA_SHA2_512`: sign with SHA-512.
const RSA_SHA2_512: u32 = 4;

/// Why a file's key is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// There is no private key in it.
    #[error("it holds no private key")]
    NotAKey,
    /// A passphrase would be needed.
    #[error("the key is encrypted with a passphrase, and a build asks for none")]
    Encrypted,
    /// A kind of key that is not served.
    #[error("keys of the kind `{0}` are not served from files")]
    Kind(String),
    /// RSA with too few bits, or more than anybody uses.
    #[error("RSA keys are served with 2048 to 4096 bits")]
    Size,
    /// It is cut off, or its parts do not fit together.
    #[error("the key is damaged")]
    Damaged,
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    pub(super) fn scalar_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    pub(super) fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Curve::P256 => "nistp256",
            Curve::P384 => "nistp384",
        }
    }

    /// Its object identifier with tag and length.
    fn oid(self) -> &'static [u8] {
        match self {
            Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Curve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        }
    }
}

#[derive(Debug)]
pub(super) enum Secret {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
}

/// A key that an agent serves.
#[derive(Debug)]
pub struct Key {
    secret: Secret,
    /// What people know it by.
    pub(super) comment: String,
}

impl Key {
    /// Reads the first private key of a file: OpenSSH's format, PKCS #8, PKCS #1 or SEC 1, each as PEM.
    pub(super) fn parse(file: &[u8]) -> Result<Key, KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::NotAKey)?;
        let (label, content) = pem(text)?;
        let without_comment = |secret| (secret, String::new());
        let (secret, comment) = match label {
            "OPENSSH PRIVATE KEY" => openssh::parse(&content)?,
            "RSA PRIVATE KEY" => {
                let pair = RsaKeyPair::from_der(&content).map_err(|_| rsa_error(&content))?;
                without_comment(Secret::Rsa(pair))
            }
            "EC PRIVATE KEY" => without_comment(ec(|curve| der::pkcs8_of_ec(&content, curve.oid()))?),
            "PRIVATE KEY" => without_comment(pkcs8(&content)?),
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            other => return Err(KeyError::Kind(other.trim_end_matches("PRIVATE KEY").trim_end().to_owned())),
        };
        Ok(Key { secret, comment })
    }

    /// Returns the public key as the protocol has it.
    pub(super) fn public(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        match &self.secret {
            Secret::Ed25519(pair) => {
                put_string(&mut blob, b"ssh-ed25519");
                put_string(&mut blob, pair.public_key().as_ref());
            }
            Secret::Rsa(pair) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                put_string(&mut blob, b"ssh-rsa");
                put_integer(&mut blob, &e);
                put_integer(&mut blob, &n);
            }
            Secret::Ecdsa(curve, pair) => {
                put_string(&mut blob, format!("ecdsa-sha2-{}", curve.name()).as_bytes());
                put_string(&mut blob, curve.name().as_bytes());
                put_string(&mut blob, pair.public_key().as_ref());
            }
        }
        blob
    }

    /// Returns a signature as the protocol has it; `None` where the flags ask for one that is not made, SHA-1 above all.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (name, signature) = match &self.secret {
            Secret::Ed25519(pair) => ("ssh-ed25519".to_owned(), pair.sign(data).as_ref().to_vec()),
            Secret::Rsa(pair) => {
                let (name, padding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                (name.to_owned(), signature)
            }
            Secret::Ecdsa(curve, pair) => {
                let fixed = pair.sign(&random, data).ok()?;
                let (r, s) = fixed.as_ref().split_at_checked(curve.scalar_bytes())?;
                let mut signature = Vec::new();
                put_integer(&mut signature, r);
                put_integer(&mut signature, s);
                (format!("ecdsa-sha2-{}", curve.name()), signature)
            }
        };
        let mut blob = Vec::new();
        put_string(&mut blob, name.as_bytes());
        put_string(&mut blob, &signature);
        Some(blob)
    }
}

fn label(line: &str) -> Option<&str> {
    line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// Returns label and content of the first private key.
fn pem(text: &str) -> Result<(&str, Vec<u8>), KeyError> {
    let mut lines = text.lines().map(str::trim);
    let mut labels = lines.by_ref().filter_map(label);
    let label = labels.find(|label| label.ends_with("PRIVATE KEY")).ok_or(KeyError::NotAKey)?;
    let mut encoded = String::new();
    for line in lines {
        if line.starts_with("-----END ") {
            return STANDARD.decode(encoded).map(|content| (label, content)).map_err(|_| KeyError::Damaged);
        }
        // Headers of RFC 1421.
        if line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        encoded.push_str(line);
    }
    Err(KeyError::Damaged)
}

fn pkcs8(content: &[u8]) -> Result<Secret, KeyError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(content) {
        return Ok(Secret::Ed25519(pair));
    }
    match RsaKeyPair::from_pkcs8(content) {
        Ok(pair) => Ok(Secret::Rsa(pair)),
        Err(error) if error.to_string() == "TooSmall" || error.to_string() == "TooLarge" => Err(KeyError::Size),
        Err(_) => ec(|_| content.to_vec()).map_err(|_| KeyError::Kind("PKCS #8 of another algorithm".into())),
    }
}

fn ec(pkcs8: impl Fn(Curve) -> Vec<u8>) -> Result<Secret, KeyError> {
    for curve in [Curve::P256, Curve::P384] {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.algorithm(), &pkcs8(curve), &SystemRandom::new()) {
            return Ok(Secret::Ecdsa(curve, pair));
        }
    }
    Err(KeyError::Kind("ECDSA with a curve other than P-256 and P-384".into()))
}

/// Tells apart by its length why a PKCS #1 key is refused: a modulus is a good fifth of it.
fn rsa_error(content: &[u8]) -> KeyError {
    rsa::size_or_damage(content.get(..content.len() * 2 / 9).unwrap_or_default())
}
