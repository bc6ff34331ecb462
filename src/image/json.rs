//! JSON that has a digest is written the same way every time.

use serde::Serialize;

/// Returns the compact JSON of a document: fields in the order of their type, maps sorted by key.
///
/// `<`, `>` and `&` stand as they are, where Go's encoder escapes them: both are valid, and the plain form is what
/// people expect to read in a label.
///
/// # Errors
///
/// Fails only for types that JSON cannot express, such as maps whose keys are no strings; the types of this module
/// are not among them.
pub fn to_json<T: Serialize>(document: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(document)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ImageConfig;
    use super::*;

    #[test]
    fn a_document_is_written_the_same_way_whatever_the_order_it_was_read_in() {
        let one = br#"{"os":"linux","zzz":{"b":1,"a":[2]},"aaa":1,"architecture":"amd64","config":{"Labels":{"b":"<&>","a":""}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let two = br#"{"aaa":1,"rootfs":{"diff_ids":null,"type":"layers"},"config":{"Labels":{"a":"","b":"<&>"}},"architecture":"amd64","zzz":{"a":[2],"b":1},"os":"linux","history":null}"#;
        let json = |text: &[u8]| {
            let config: ImageConfig = serde_json::from_slice(text).unwrap();
            String::from_utf8(to_json(&config).unwrap()).unwrap()
        };
        let expected = r#"{"architecture":"amd64","os":"linux","config":{"Labels":{"a":"","b":"<&>"}},"rootfs":{"type":"layers","diff_ids":[]},"aaa":1,"zzz":{"a":[2],"b":1}}"#;
        assert_eq!((json(one).as_str(), json(two).as_str()), (expected, expected));
    }

    #[test]
    fn fields_of_docker_and_unknown_fields_survive() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Healthcheck":{"Test":["NONE"]},"ArgsEscaped":true,"OnBuild":["RUN x"],"Shell":["/bin/ash"],"StopTimeout":3},"rootfs":{"type":"layers","diff_ids":[]},"moby.x":{"y":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(String::from_utf8(to_json(&config).unwrap()).unwrap(), text);
    }
}
