//! RSA keys from the numbers that OpenSSH keeps.

use super::key::KeyError;
use super::wire::trimmed;
use ring::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};

/// The numbers of a key, big-endian.
pub(super) struct Numbers<'a> {
    pub n: &'a [u8],
    pub e: &'a [u8],
    pub d: &'a [u8],
    /// The inverse of q modulo p.
    pub inverse: &'a [u8],
    pub p: &'a [u8],
    pub q: &'a [u8],
}

/// Returns the key; `d` modulo `p - 1` and `q - 1`, which OpenSSH leaves out, is worked out.
pub(super) fn key_pair(numbers: &Numbers<'_>) -> Result<KeyPair, KeyError> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: numbers.n, e: numbers.e },
        d: numbers.d,
        p: numbers.p,
        q: numbers.q,
        dP: &remainder(numbers.d, &less_one(numbers.p))[..],
        dQ: &remainder(numbers.d, &less_one(numbers.q))[..],
        qInv: numbers.inverse,
    };
    KeyPair::from_components(&components).map_err(|_| size_or_damage(numbers.n))
}

/// Tells a key of a size that is not served from one whose numbers do not fit.
pub(super) fn size_or_damage(modulus: &[u8]) -> KeyError {
    if (2048..=4096).contains(&(modulus.len() * 8)) { KeyError::Damaged } else { KeyError::Size }
}

/// Returns an odd number without one.
fn less_one(number: &[u8]) -> Vec<u8> {
    let mut less = number.to_vec();
    if let Some(last) = less.last_mut() {
        *last &= !1;
    }
    less
}

/// Returns what is left of a number by division, one bit after the other; `modulus` is not zero.
fn remainder(number: &[u8], modulus: &[u8]) -> Vec<u8> {
    // One byte more, for what a shift carries out.
    let modulus = [&[0], modulus].concat();
    let mut rest = vec![0_u8; modulus.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            let next = *byte >> 7;
            *byte = *byte << 1 | carry;
            carry = next;
        }
        if rest >= modulus {
            subtract(&mut rest, &modulus);
        }
    }
    trimmed(&rest).to_vec()
}

/// Takes one number of the same length from another that is not less.
fn subtract(from: &mut [u8], number: &[u8]) {
    let mut borrow = false;
    for (byte, other) in from.iter_mut().zip(number).rev() {
        let (first, one) = byte.overflowing_sub(*other);
        let (second, two) = first.overflowing_sub(u8::from(borrow));
        (*byte, borrow) = (second, one || two);
    }
}

#[cfg(test)]
mod tests {
    use super::remainder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn division_leaves_what_it_should(number: u128, modulus in 1_u64..) {
            let expected = (number % u128::from(modulus)).to_be_bytes();
            let found = remainder(&number.to_be_bytes(), &modulus.to_be_bytes());
            prop_assert_eq!(super::trimmed(&expected), &found[..]);
        }
    }
}
