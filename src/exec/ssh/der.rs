//! As much of DER as it takes to put a key into PKCS #8, the form that the library of signatures reads.

/// `ecPublicKey`, with its tag and length.
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

const INTEGER_0: [u8; 3] = [0x02, 0x01, 0x00];
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Wraps an elliptic-curve key (RFC 5915) on the curve of an object identifier, given with its tag and length.
pub(super) fn pkcs8_of_ec(key: &[u8], curve: &[u8]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[&EC_PUBLIC_KEY, curve].concat());
    element(SEQUENCE, &[&INTEGER_0[..], &algorithm, &element(OCTET_STRING, key)].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = super::wire::trimmed(&length);
    let mut element = vec![tag];
    match length {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        _ => {
            element.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
            element.extend(length);
        }
    }
    element.extend(content);
    element
}
