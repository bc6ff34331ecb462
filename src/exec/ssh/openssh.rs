//! OpenSSH's own format of private keys (PROTOCOL.key of OpenSSH).

use super::key::{Curve, KeyError, Secret};
use super::rsa::{self, Numbers};
use super::wire::{Reader, trimmed};
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair};

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Reads a key and its comment.
pub(super) fn parse(bytes: &[u8]) -> Result<(Secret, String), KeyError> {
    let mut outer = Reader(bytes.strip_prefix(MAGIC).ok_or(KeyError::Damaged)?);
    let cipher = outer.string().ok_or(KeyError::Damaged)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    private_part(&mut outer).and_then(|inner| secret(&mut Reader(inner)))
}

/// Skips key derivation and public key.
fn private_part<'a>(outer: &mut Reader<'a>) -> Result<&'a [u8], KeyError> {
    let part = (|| {
        let (_kdf, _options) = (outer.string()?, outer.string()?);
        let count = outer.number()?;
        let _public = outer.string()?;
        outer.string().filter(|_| count == 1)
    })();
    part.ok_or(KeyError::Damaged)
}

fn secret(inner: &mut Reader<'_>) -> Result<(Secret, String), KeyError> {
    // The same number twice: with a wrong passphrase they differ.
    let numbers = (inner.number(), inner.number());
    if numbers.0.is_none() || numbers.0 != numbers.1 {
        return Err(KeyError::Damaged);
    }
    let kind = inner.string().ok_or(KeyError::Damaged)?;
    let secret = match kind {
        b"ssh-ed25519" => ed25519(inner),
        b"ssh-rsa" => {
            let numbers = rsa_numbers(inner).ok_or(KeyError::Damaged)?;
            rsa::key_pair(&numbers).map(Secret::Rsa)
        }
        b"ecdsa-sha2-nistp256" => ecdsa(inner, Curve::P256),
        b"ecdsa-sha2-nistp384" => ecdsa(inner, Curve::P384),
        other => Err(KeyError::Kind(String::from_utf8_lossy(other).into_owned())),
    }?;
    let comment = inner.string().ok_or(KeyError::Damaged)?;
    Ok((secret, String::from_utf8_lossy(comment).into_owned()))
}

fn ed25519(inner: &mut Reader<'_>) -> Result<Secret, KeyError> {
    let pair = inner.string().zip(inner.string()).and_then(|(public, private)| {
        let seed = private.get(..32)?;
        Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
    });
    pair.map(Secret::Ed25519).ok_or(KeyError::Damaged)
}

fn rsa_numbers<'a>(inner: &mut Reader<'a>) -> Option<Numbers<'a>> {
    let (n, e, d) = (inner.integer()?, inner.integer()?, inner.integer()?);
    let (inverse, p, q) = (inner.integer()?, inner.integer()?, inner.integer()?);
    // One is no prime, and nothing can be divided by nothing.
    let is_sound = |number: &[u8]| number.len() > 1;
    (is_sound(p) && is_sound(q)).then_some(Numbers { n, e, d, inverse, p, q })
}

fn ecdsa(inner: &mut Reader<'_>, curve: Curve) -> Result<Secret, KeyError> {
    let parts = (|| Some((inner.string()?, inner.string()?, inner.integer()?)))();
    let (_name, public, private) = parts.ok_or(KeyError::Damaged)?;
    let mut padded = vec![0; curve.scalar_bytes().checked_sub(private.len()).ok_or(KeyError::Damaged)?];
    padded.extend(trimmed(private));
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm(), &padded, public, &SystemRandom::new());
    pair.map(|pair| Secret::Ecdsa(curve, pair)).map_err(|_| KeyError::Damaged)
}
